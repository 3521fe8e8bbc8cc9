// Every fuzzer's seeds through the same code, so that a finding stays fixed without clang.
#include <functional>
#include <map>

#include "tests/fuzz/experiment_targets.h"
#include "tests/fuzz/result_targets.h"
#include "tests/support/catch.h"
#include "tests/support/seeds.h"

namespace foretell {
namespace {

TEST_CASE("The seeds of the fuzzers of a study's inputs read or fail with an Error") {
  const std::map<std::string, std::function<void(std::string_view)>> targets = {
      {"draft_dump_fuzz", fuzz::draft_dump},
      {"distribution_record_fuzz", fuzz::distribution_record},
      {"study_fuzz", fuzz::study},
      {"spec_bench_fuzz", fuzz::spec_bench},
      {"records_fuzz", fuzz::records},
      {"study_folder_fuzz", fuzz::study_folder},
      {"roofline_table_fuzz", fuzz::roofline_table}};
  for (const auto& [name, target] : targets)
    testing::for_each_seed(name, [&read = target](const std::string& bytes) { CHECK_NOTHROW(read(bytes)); });
}

}  // namespace
}  // namespace foretell
