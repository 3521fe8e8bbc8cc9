# The fuzzers: each file of tests/fuzz is one, linked with files that know no LibTorch. `make fuzz` builds and runs all of them.
#   CC=clang CXX=clang++ cmake -B build-fuzz -G Ninja -DFORETELL_FUZZ=ON
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "FORETELL_FUZZ=ON needs clang (libFuzzer): configure with CXX=clang++.")
endif()
set(fuzzed_options -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -g1)
set(fuzzed_objects "")
foreach(room IN LISTS free_rooms)
  target_compile_options(${room} PRIVATE ${fuzzed_options})
  list(APPEND fuzzed_objects $<TARGET_OBJECTS:${room}>)
endforeach()
# The readers of experiments: those of a study, of a results folder and of what is imported, and what they need. The registries are empty here, so
# nothing is built of what a study names.
set(fuzzed_readers analysis/divergence analysis/draft_dump analysis/measures analysis/roofline report/report_files report/report_tables report/spec_bench_import report/study_folder
  results/config_json results/distribution_record results/expert_json results/provenance results/record_json results/record_reader results/result_files results/store util/result_names results/summary_check results/row_costs_json
  results/summary study/include study/pipeline study/plugin_certificate study/plugins study/load_study study/sweep tables/load_survey_table
  tables/roofline_table tables/survey_table_measured tables/survey_table_verdict util/command util/console util/paths util/shell_quote
  util/table)
list(TRANSFORM fuzzed_readers PREPEND "${PROJECT_SOURCE_DIR}/experiments/")
list(TRANSFORM fuzzed_readers APPEND ".cpp")
# A static library, so that a fuzzer takes only the files it needs: metrics may refer to what is not built here.
add_library(foretell_fuzzed STATIC ${fuzzed_objects} ${fuzzed_readers})
target_compile_options(foretell_fuzzed PRIVATE ${fuzzed_options})
target_link_libraries(foretell_fuzzed PUBLIC foretell_common PkgConfig::divsufsort "${clp_library}" "${coinutils_library}")
file(GLOB fuzzers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/fuzz/*.cpp")
foreach(source IN LISTS fuzzers)
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} "${source}")
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -g1)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer,address,undefined)
  target_link_libraries(${name} PRIVATE foretell_fuzzed)
endforeach()
