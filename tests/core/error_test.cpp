#include "framework/core/error.h"

#include "framework/core/version.h"
#include "tests/support/catch.h"

using foretell::nearest_name;
using foretell::unknown_name_message;

namespace {
const std::vector<std::string> kKnown = {"none", "model", "prompt_lookup"};
}

TEST_CASE("nearest_name finds what was probably meant") {
  CHECK(nearest_name("promt_lookup", kKnown) == "prompt_lookup");
  CHECK(nearest_name("modle", kKnown) == "model");
  CHECK(nearest_name("model", kKnown) == "model");
}

TEST_CASE("nearest_name guesses nothing where nothing is near") {
  CHECK_FALSE(nearest_name("eagle3", kKnown).has_value());
  CHECK_FALSE(nearest_name("", {}).has_value());
  CHECK_FALSE(nearest_name(std::string(1 << 20, 'x'), kKnown).has_value());
}

TEST_CASE("unknown_name_message names the nearest and all that are known") {
  CHECK(unknown_name_message("drafter", "promt_lookup", kKnown) ==
        "unknown drafter 'promt_lookup' (did you mean 'prompt_lookup'?); known: none, model, prompt_lookup");
  CHECK(unknown_name_message("drafter", "zzzzzz", kKnown) ==
        "unknown drafter 'zzzzzz'; known: none, model, prompt_lookup");
}

TEST_CASE("an Error names the place in front of the message") {
  CHECK(std::string(foretell::Error({"study.yaml", 7}, "bad key").what()) == "study.yaml:7: bad key");
  CHECK(std::string(foretell::Error({"model.safetensors", std::nullopt}, "truncated").what()) ==
        "model.safetensors: truncated");
}

TEST_CASE("a failed check prints the condition, the values and a path inside the project") {
  const int rows = 3;
  try {
    FORETELL_CHECK(rows == 4, "rows {}", rows);
    FAIL("the check passed");
  } catch (const foretell::InternalError& error) {
    const std::string what = error.what();
    CHECK(what.find("internal error at tests/core/error_test.cpp:") == 0);
    CHECK(what.find("expected rows == 4; rows 3") != std::string::npos);
  }
}

TEST_CASE("the build says what it is") {
  CHECK(foretell::version() == "0.2.0");
  CHECK_FALSE(foretell::git_revision().empty());
  CHECK_FALSE(foretell::compiler().empty());
}
