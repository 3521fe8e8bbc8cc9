# The fuzzers: each file of tests/fuzz is one, linked with files that know no LibTorch. `make fuzz` builds and runs all of them.
#   CC=clang CXX=clang++ cmake -B build-fuzz -G Ninja -DFORETELL_FUZZ=ON
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "FORETELL_FUZZ=ON needs clang (libFuzzer): configure with CXX=clang++.")
endif()
set(fuzzed_options -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -g1)
target_compile_options(foretell_core PRIVATE ${fuzzed_options})
# The readers of experiments: those of a study, of a results folder and of what is imported, and what they need. The registries are empty here, so
# nothing is built of what a study names.
set(fuzzed_readers command.cpp console.cpp content_hash.cpp divergence.cpp include.cpp law_record.cpp paths.cpp pipeline.cpp plugin_certificate.cpp plugins.cpp provenance.cpp
  record_json.cpp record_reader.cpp result_files.cpp result_names.cpp row_costs_json.cpp study.cpp summary.cpp summary_check.cpp sweep.cpp table.cpp report/measures.cpp
  report/report_files.cpp report/report_tables.cpp report/spec_bench_import.cpp report/study_folder.cpp)
list(TRANSFORM fuzzed_readers PREPEND "${PROJECT_SOURCE_DIR}/experiments/")
foreach(file IN ITEMS registries plugin_guards contract draft_tree)
  list(APPEND fuzzed_readers "${PROJECT_SOURCE_DIR}/framework/decode/${file}.cpp")
endforeach()
# A static library, so that a fuzzer takes only the files it needs: metrics may refer to what is not built here.
add_library(foretell_fuzzed STATIC $<TARGET_OBJECTS:foretell_core> ${fuzzed_readers})
target_compile_options(foretell_fuzzed PRIVATE ${fuzzed_options})
target_link_libraries(foretell_fuzzed PUBLIC foretell_common)
file(GLOB fuzzers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/fuzz/*.cpp")
foreach(source IN LISTS fuzzers)
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} "${source}")
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -g1)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer,address,undefined)
  target_link_libraries(${name} PRIVATE foretell_fuzzed)
endforeach()
