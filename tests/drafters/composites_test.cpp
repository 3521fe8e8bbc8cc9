// Which member of first_of and hybrid drafts.
#include "tests/drafters/helpers.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

const std::string kShort = "{type: prompt_lookup, num_speculative_tokens: 2, whole_continuation: false}";
const std::string kLong = "{type: prompt_lookup, num_speculative_tokens: 5, whole_continuation: false}";

// The last token occurred before, and six tokens follow it there.
const Tokens kRepeating{1, 2, 3, 4, 5, 6, 7, 1};

Tokens drafted_by(const std::string& drafter, const Tokens& text = kRepeating) {
  DrafterBench bench(drafter);
  bench.begin(0, text);
  return chain_of(bench.draft(0));
}

TEST_CASE("first_of passes a draft that promises too little") {
  const auto first_of = [](double least) {
    return fmt::format("{{type: first_of, drafters: [{}, {}], min_expected: {}}}", kShort, kLong, least);
  };
  CHECK(drafted_by(first_of(0)) == Tokens{2, 3});
  CHECK(drafted_by(first_of(2)) == Tokens{2, 3});
  CHECK(drafted_by(first_of(3)) == Tokens{2, 3, 4, 5, 6});
  CHECK(drafted_by(first_of(9)) == Tokens{2, 3, 4, 5, 6});  // the last one is taken as it is
  CHECK(drafted_by(first_of(0), {1, 2, 3}).empty());
}

TEST_CASE("hybrid asks its model where copying promises too little") {
  const auto hybrid = [](const std::string& threshold) {
    return fmt::format("{{type: hybrid, copying: {}, model: {}{}}}", kShort, kLong, threshold);
  };
  CHECK(drafted_by(hybrid(", threshold: 2")) == Tokens{2, 3});
  CHECK(drafted_by(hybrid(", threshold: 3")) == Tokens{2, 3, 4, 5, 6});
  CHECK(drafted_by(hybrid("")) == Tokens{2, 3, 4, 5, 6});  // the default is what the model would draft
}

}  // namespace
}  // namespace foretell::testing
