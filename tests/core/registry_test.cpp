#include "framework/core/registry.h"

#include "tests/support/catch.h"

using foretell::KnownStrategy;
using foretell::same_name;
using foretell::unknown_strategy_message;

namespace {
const std::vector<KnownStrategy> kStrategies = {
    {"none", {}}, {"specdecpp", {}}, {"sparse_cache", {"MagicDec"}}, {"odd", {"--"}}};
}

TEST_CASE("names are the same up to case, spaces and punctuation") {
  CHECK(same_name("EAGLE-2", "eagle2"));
  CHECK(same_name("SpecDec++", "specdecpp"));
  CHECK(same_name("PIA Lookahead", "pia_lookahead"));
  CHECK_FALSE(same_name("eagle", "eagle2"));
  CHECK_FALSE(same_name("--", "__"));
  CHECK_FALSE(same_name("", ""));
}

TEST_CASE("a strategy's name elsewhere suggests its name here") {
  const auto suggests = [](const std::string& name) {
    const std::string message = unknown_strategy_message("drafter", name, kStrategies);
    const std::string start = "unknown drafter '" + name + "'", end = "; known: none, specdecpp, sparse_cache, odd";
    REQUIRE(message.substr(0, start.size()) == start);
    REQUIRE(message.substr(message.size() - end.size()) == end);
    return message.substr(start.size(), message.size() - start.size() - end.size());
  };
  CHECK(suggests("MagicDec") == " (did you mean 'sparse_cache'?)");
  CHECK(suggests("magic-dec") == " (did you mean 'sparse_cache'?)");
  CHECK(suggests("MagikDec") == " (did you mean 'sparse_cache'?)");
  CHECK(suggests("SpecDec++") == " (did you mean 'specdecpp'?)");
  CHECK(suggests("nonne") == " (did you mean 'none'?)");
  CHECK(suggests("-+") == " (did you mean 'odd'?)");  // near "--", which is no name by itself
  CHECK(suggests("zzzzzzzz").empty());
}
