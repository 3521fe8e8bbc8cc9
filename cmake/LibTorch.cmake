# Defines the imported target foretell_torch: LibTorch's headers (as system headers), its libraries and the way to find them at run time.
#
# Why not find_package(Torch): the configuration inside the PyPI wheel insists on a whole CUDA toolkit. The two libraries that a CPU build
# links need only two small NVIDIA run-time libraries beside them, and cmake/setup.sh puts them there.
#
# A LibTorch that the variable libtorch or CMAKE_PREFIX_PATH names wins; else the one that `make setup` keeps for the whole machine.

set(FORETELL_TORCH_VERSION 2.11.0)

function(foretell_find_libtorch out)
  # In the environment the entries are separated by colons.
  string(REPLACE ":" ";" from_environment "$ENV{CMAKE_PREFIX_PATH}")
  foreach(prefix IN LISTS CMAKE_PREFIX_PATH from_environment)
    # torch.utils.cmake_prefix_path names <torch>/share/cmake, LibTorch's archive is named by its own folder.
    foreach(candidate IN ITEMS "${prefix}" "${prefix}/../..")
      if(EXISTS "${candidate}/lib/libtorch_cpu.so")
        get_filename_component(candidate "${candidate}" REALPATH)
        set(${out} "${candidate}" PARENT_SCOPE)
        return()
      endif()
    endforeach()
  endforeach()
  if(DEFINED ENV{FORETELL_CACHE})
    set(cache "$ENV{FORETELL_CACHE}")
  elseif(DEFINED ENV{XDG_CACHE_HOME})
    set(cache "$ENV{XDG_CACHE_HOME}/foretell")
  else()
    set(cache "$ENV{HOME}/.cache/foretell")
  endif()
  set(candidate "${cache}/libtorch-${FORETELL_TORCH_VERSION}")
  if(NOT EXISTS "${candidate}/lib/libtorch_cpu.so")
    message(FATAL_ERROR "LibTorch is missing: run `make setup` (it was looked for in CMAKE_PREFIX_PATH and in ${candidate}).")
  endif()
  set(${out} "${candidate}" PARENT_SCOPE)
endfunction()

# Plug-ins name the one that Foretell was built with: two versions in one program would not get along.
if(NOT libtorch)
  foretell_find_libtorch(libtorch)
endif()
message(STATUS "LibTorch: ${libtorch}")

# Old LibTorch archives were built with the other std::string; linking one fails in ways that nobody can read.
file(STRINGS "${libtorch}/lib/libc10.so" cxx11_symbol REGEX "cxx11" LIMIT_COUNT 1)
if(NOT cxx11_symbol)
  message(FATAL_ERROR "${libtorch} was built with _GLIBCXX_USE_CXX11_ABI=0; Foretell needs one built with 1 (any release since 2.6).")
endif()

function(foretell_import name)
  add_library(${name} SHARED IMPORTED GLOBAL)
  set_target_properties(${name} PROPERTIES IMPORTED_LOCATION "${libtorch}/lib/lib${name}.so")
endfunction()

foretell_import(c10)
foretell_import(torch_cpu)
add_library(foretell_torch INTERFACE)
# Searched after the system's folders, because LibTorch brings headers of its own of packages that we take from the system (fmt, another
# version), and one program must not see two.
target_compile_options(foretell_torch INTERFACE
  "SHELL:-idirafter \"${libtorch}/include/torch/csrc/api/include\"" "SHELL:-idirafter \"${libtorch}/include\"")
target_link_libraries(foretell_torch INTERFACE torch_cpu c10)
# LibTorch's headers then include the operators that they call, one by one, instead of all of them.
target_compile_definitions(foretell_torch INTERFACE AT_PER_OPERATOR_HEADERS)
# at::parallel_for is a header template with OpenMP pragmas: without this flag it silently runs on one thread.
target_compile_options(foretell_torch INTERFACE -fopenmp)
# GNU ld follows the libraries' own needs (libcupti, libcudart, libgomp); the loader finds them through the libraries' own $ORIGIN.
target_link_options(foretell_torch INTERFACE "LINKER:-rpath-link,${libtorch}/lib")

if(FORETELL_CUDA)
  if(NOT EXISTS "${libtorch}/lib/libtorch_cuda.so")
    message(FATAL_ERROR "FORETELL_CUDA=ON, but ${libtorch} has no lib/libtorch_cuda.so: name a CUDA build of LibTorch in CMAKE_PREFIX_PATH.")
  endif()
  foretell_import(c10_cuda)
  foretell_import(torch_cuda)
  # Nothing refers to libtorch_cuda by a symbol; it registers its kernels when it is loaded, so the linker must not drop it.
  target_link_libraries(foretell_torch INTERFACE "-Wl,--no-as-needed" torch_cuda c10_cuda "-Wl,--as-needed")
  target_compile_options(foretell_torch INTERFACE "SHELL:-idirafter \"${libtorch}/include-cuda\"")
  target_compile_definitions(foretell_torch INTERFACE FORETELL_CUDA=1)
endif()
