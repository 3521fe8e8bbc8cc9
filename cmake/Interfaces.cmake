# What a strategy may include, in the executable or in a plug-in. A change there makes plug-ins that were built before unfit; only two
# files see the hash that says so.
set(interface_folders framework/base framework/text framework/sampling framework/model framework/decode framework/cost framework/planning)
list(TRANSFORM interface_folders PREPEND "${PROJECT_SOURCE_DIR}/" OUTPUT_VARIABLE interface_globs)
list(TRANSFORM interface_globs APPEND "/*.h")
file(GLOB_RECURSE interface_headers CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}" ${interface_globs})
list(APPEND interface_headers framework/plugin/abi_tag.h)
list(JOIN interface_headers "\n" interface_lines)
file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/generated/interface_headers.txt" CONTENT "${interface_lines}\n")
set(interfaces_header "${PROJECT_BINARY_DIR}/generated/foretell_interfaces.h")
list(TRANSFORM interface_headers PREPEND "${PROJECT_SOURCE_DIR}/" OUTPUT_VARIABLE hashed_headers)
add_custom_command(OUTPUT "${interfaces_header}"
  DEPENDS ${hashed_headers} "${PROJECT_BINARY_DIR}/generated/interface_headers.txt" "${PROJECT_SOURCE_DIR}/cmake/InterfaceHash.cmake"
  COMMAND "${CMAKE_COMMAND}" "-DSOURCE_DIR=${PROJECT_SOURCE_DIR}" "-DVERSION=${PROJECT_VERSION}" "-DOUTPUT=${interfaces_header}"
          "-DHEADERS=${PROJECT_BINARY_DIR}/generated/interface_headers.txt" -P "${PROJECT_SOURCE_DIR}/cmake/InterfaceHash.cmake"
  COMMAND "${CMAKE_COMMAND}" -E touch "${interfaces_header}" VERBATIM)
add_custom_target(foretell_interfaces DEPENDS "${interfaces_header}")
add_dependencies(foretell_core foretell_interfaces)
set_source_files_properties(framework/plugin/abi.cpp framework/plugin/plugin.cpp framework/plugin/plugin_file.cpp PROPERTIES INCLUDE_DIRECTORIES "${PROJECT_BINARY_DIR}/generated")
