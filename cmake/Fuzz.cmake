# The fuzzers: each file of tests/fuzz is one, linked with the files that know no LibTorch and nothing else.
#   CC=clang CXX=clang++ cmake -B build-fuzz -G Ninja -DFORETELL_FUZZ=ON
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "FORETELL_FUZZ=ON needs clang (libFuzzer): configure with CXX=clang++.")
endif()
foreach(target IN ITEMS foretell_core)
  target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -g1)
endforeach()
# The readers of experiments: those of a results folder, and what they need.
set(fuzzed_readers console.cpp content_hash.cpp provenance.cpp record_json.cpp record_reader.cpp result_files.cpp table.cpp report/measures.cpp
  report/report_files.cpp report/report_tables.cpp report/study_folder.cpp)
list(TRANSFORM fuzzed_readers PREPEND "${PROJECT_SOURCE_DIR}/experiments/")
# A static library, so that a fuzzer takes only the files it needs: metrics may refer to what is not built here.
add_library(foretell_fuzzed STATIC $<TARGET_OBJECTS:foretell_core> ${fuzzed_readers})
target_compile_options(foretell_fuzzed PRIVATE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -g1)
target_link_libraries(foretell_fuzzed PUBLIC foretell_common)
file(GLOB fuzzers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/fuzz/*.cpp")
foreach(source IN LISTS fuzzers)
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} "${source}")
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -g1)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer,address,undefined)
  target_link_libraries(${name} PRIVATE foretell_fuzzed)
endforeach()
