// Every fuzzer's seeds through the same code, so that a finding stays fixed without clang.
#include <functional>
#include <map>

#include "tests/fuzz/experiment_targets.h"
#include "tests/fuzz/result_targets.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

TEST_CASE("The seeds of the fuzzers of a study's inputs read or fail with an Error") {
  const std::map<std::string, std::function<void(std::string_view)>> targets = {{"law_record_fuzz", fuzz::law_record},
                                                                                {"study_fuzz", fuzz::study},
                                                                                {"spec_bench_fuzz", fuzz::spec_bench},
                                                                                {"records_fuzz", fuzz::records},
                                                                                {"study_folder_fuzz", fuzz::study_folder}};
  const char* source = std::getenv("FORETELL_SOURCE_DIR");  // set by ctest; by hand the tests run in the project's root
  for (const auto& [name, target] : targets) {
    int seeds = 0;
    const auto folder = std::filesystem::path(source != nullptr ? source : ".") / "tests/fuzz/seeds" / name;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      INFO(entry.path());
      CHECK_NOTHROW(target(testing::read_file(entry.path())));
      ++seeds;
    }
    CHECK(seeds > 0);
  }
}

}  // namespace
}  // namespace foretell
