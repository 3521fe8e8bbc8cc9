#include "framework/metrics/aliases.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>

#include "tests/support/catch.h"
#include "tests/support/data.h"

using namespace foretell;

namespace {

std::string metrics_document() {
  const char* source = std::getenv("FORETELL_SOURCE_DIR");  // set by ctest; by hand the tests run in the project's root
  return foretell::testing::read_file(std::filesystem::path(source ? source : ".") / "docs/reference/metrics.md");
}

}  // namespace

TEST_CASE("every metric with an alias is documented, and so is the alias") {
  const std::string document = metrics_document();
  for (const MetricAlias& alias : metric_aliases()) {
    INFO(alias.metric << " in " << alias.tool);
    const std::string name = fmt::format("`{}`", alias.metric);
    CHECK(document.find(name) < document.find("## Equivalent metrics in other tools"));
    CHECK(document.find(fmt::format("| {} | {} | {} | {} |", name, alias.tool, alias.theirs, alias.note)) !=
          std::string::npos);
  }
}

TEST_CASE("a tool's name stands for one metric") {
  std::set<std::string> seen;
  for (const MetricAlias& alias : metric_aliases())
    CHECK(seen.insert(fmt::format("{} {}", alias.tool, alias.theirs)).second);
}

TEST_CASE("aliases are found by metric and by tool") {
  REQUIRE(aliases_of_metric("draft_acceptance_rate_per_request").size() == 1);
  CHECK(aliases_of_metric("draft_acceptance_rate_per_request")[0].tool == "AIPerf");
  CHECK(aliases_of_metric("nothing").empty());
  for (const MetricAlias& alias : aliases_in("Spec-Bench")) CHECK(alias.tool == "Spec-Bench");
  CHECK(aliases_in("Spec-Bench").size() >= 4);
}
