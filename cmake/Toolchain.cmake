# How everything is compiled and linked. The same for all targets: a precompiled header can only be shared between equal flags.

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(compiler_name GCC)
else()
  set(compiler_name "${CMAKE_CXX_COMPILER_ID}")
endif()

# One executable in build/, its library beside it, found by $ORIGIN wherever the folder is moved.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
set(CMAKE_BUILD_RPATH "$ORIGIN")
set(CMAKE_BUILD_RPATH_USE_ORIGIN ON)

add_compile_options(-Wall -Wextra)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  add_compile_options(-Wno-restrict)  # reports std::string::insert and operator+ themselves (GCC bug 105651)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_compile_options(-Wno-pass-failed)  # an `omp simd` loop that a build with sanitizers leaves as it is: no fault of the code
endif()
# -fPIC by hand: CMake's own property would say -fPIE for executables, and then they could not share the precompiled header.
add_compile_options(-fPIC)
# Messages and tables name files from the project's root, on every machine.
add_compile_options("-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=")
if(FORETELL_WERROR OR "$ENV{CI}" STREQUAL "true")
  add_compile_options(-Werror)
endif()
if(FORETELL_SANITIZE)
  add_compile_options(-fsanitize=${FORETELL_SANITIZE} -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${FORETELL_SANITIZE})
endif()

if(FORETELL_COVERAGE)
  add_compile_options(--coverage)
  add_link_options(--coverage)
endif()

find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Without these ccache refuses files that use a precompiled header. No CCACHE_BASEDIR: it hands the compiler relative names, and those
  # would show in messages.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
    "CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime" "${CCACHE}")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-fpch-preprocess)
  endif()
endif()
