# `cmake --install build --prefix P`: the executables, the two libraries, and what a plug-in is built with, namely the headers of the framework that
# strategies may include and a package for find_package(Foretell). The tests need not have been built.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(include_folder "${CMAKE_INSTALL_INCLUDEDIR}/foretell")
set(package_folder "${CMAKE_INSTALL_LIBDIR}/cmake/Foretell")
file(RELATIVE_PATH to_library "/${CMAKE_INSTALL_BINDIR}" "/${CMAKE_INSTALL_LIBDIR}")
# The prefix may be moved; LibTorch stays where it was.
set(engine_folder "${CMAKE_INSTALL_LIBEXECDIR}/foretell")
file(RELATIVE_PATH to_engine "/${CMAKE_INSTALL_BINDIR}" "/${engine_folder}/foretell-engine")
file(RELATIVE_PATH engine_to_library "/${engine_folder}" "/${CMAKE_INSTALL_LIBDIR}")
set_source_files_properties(experiments/cli/main.cpp PROPERTIES COMPILE_DEFINITIONS "FORETELL_ENGINE_FROM_BIN=\"${to_engine}\"")
set_target_properties(foretell PROPERTIES INSTALL_RPATH "$ORIGIN/${to_library}" INSTALL_RPATH_USE_LINK_PATH ON)
set_target_properties(foretell_engine PROPERTIES INSTALL_RPATH "$ORIGIN/${engine_to_library}" INSTALL_RPATH_USE_LINK_PATH ON)
set_target_properties(libforetell libforetell_torch PROPERTIES INSTALL_RPATH "$ORIGIN" INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS foretell RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(TARGETS foretell_engine RUNTIME DESTINATION "${engine_folder}")
install(TARGETS libforetell libforetell_torch LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")

foreach(header IN LISTS interface_headers)
  get_filename_component(folder "${header}" DIRECTORY)
  install(FILES "${PROJECT_SOURCE_DIR}/${header}" DESTINATION "${include_folder}/${folder}")
endforeach()
install(FILES "${interfaces_header}" DESTINATION "${include_folder}")

configure_package_config_file(cmake/ForetellConfig.cmake.in "${PROJECT_BINARY_DIR}/generated/ForetellConfig.cmake"
  INSTALL_DESTINATION "${package_folder}" PATH_VARS include_folder CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/generated/ForetellConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/generated/ForetellConfig.cmake" "${PROJECT_BINARY_DIR}/generated/ForetellConfigVersion.cmake"
  cmake/LibTorch.cmake DESTINATION "${package_folder}")
install(FILES framework/plugin/abi.cpp DESTINATION "${package_folder}" RENAME foretell_plugin_abi.cpp)
