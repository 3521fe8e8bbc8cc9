// Every fuzzer's seeds through the same code, so that a finding stays fixed without clang.
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>

#include "tests/fuzz/text_targets.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

TEST_CASE("The text fuzzers' seeds read or fail with an Error") {
  const std::map<std::string, std::function<void(std::string_view)>> targets = {{"tokenizer_json_fuzz", fuzz::tokenizer_json},
                                                                                {"tokenizer_bin_fuzz", fuzz::tokenizer_bin},
                                                                                {"tokenizer_model_fuzz", fuzz::tokenizer_model},
                                                                                {"tokenizer_config_fuzz", fuzz::tokenizer_config},
                                                                                {"chat_template_fuzz", fuzz::chat_template},
                                                                                {"prompts_fuzz", fuzz::prompts},
                                                                                {"config_fuzz", fuzz::config}};
  const char* source = std::getenv("FORETELL_SOURCE_DIR");  // set by ctest; by hand the tests run in the project's root
  for (const auto& [name, target] : targets) {
    int seeds = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(std::filesystem::path(source != nullptr ? source : ".") / "tests/fuzz/seeds" / name)) {
      INFO(entry.path());
      CHECK_NOTHROW(target(testing::read_file(entry.path())));
      ++seeds;
    }
    CHECK(seeds > 0);
  }
}

}  // namespace
}  // namespace foretell
