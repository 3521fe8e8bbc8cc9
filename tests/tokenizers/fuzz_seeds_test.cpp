// Every fuzzer's seeds through the same code, so that a finding stays fixed without clang.
#include <functional>
#include <map>

#include "tests/fuzz/text_targets.h"
#include "tests/support/catch.h"
#include "tests/support/seeds.h"

namespace foretell {
namespace {

TEST_CASE("The text fuzzers' seeds read or fail with an Error") {
  const std::map<std::string, std::function<void(std::string_view)>> targets = {
      {"tokenizer_json_fuzz", fuzz::tokenizer_json},   {"tokenizer_bin_fuzz", fuzz::tokenizer_bin},
      {"tokenizer_model_fuzz", fuzz::tokenizer_model}, {"tokenizer_config_fuzz", fuzz::tokenizer_config},
      {"chat_template_fuzz", fuzz::chat_template},     {"prompts_fuzz", fuzz::prompts},
      {"accept_runs_fuzz", fuzz::accept_runs},         {"config_fuzz", fuzz::config}};
  for (const auto& [name, target] : targets)
    testing::for_each_seed(name, [&read = target](const std::string& bytes) { CHECK_NOTHROW(read(bytes)); });
}

}  // namespace
}  // namespace foretell
