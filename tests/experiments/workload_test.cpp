#include "experiments/workload.h"

#include "framework/base/error.h"
#include "tests/support/catch.h"

using namespace foretell;

namespace {

Workload load(const std::string& yaml) { return load_workload(parse_yaml(yaml, "study.yaml"), ".", 100); }

}  // namespace

TEST_CASE("generated conversations come family by family with their right answers") {
  const Workload workload = load("{type: generated, families: [qa, arithmetic], count: 3}");
  REQUIRE(workload.conversations.size() == 6);
  CHECK(workload.tasks == std::vector<std::string>{"qa", "arithmetic"});
  CHECK(workload.conversations[0].id == "qa-heldout-0");
  CHECK(workload.conversations[1].id == "arithmetic-heldout-0");
  CHECK(workload.conversations[2].id == "qa-heldout-1");
  CHECK(workload.chat_template == "chatml");
  for (const Conversation& conversation : workload.conversations)
    for (const Turn& turn : conversation.turns) {
      CHECK_FALSE(turn.text.empty());
      CHECK(turn.answer.has_value());
    }
  CHECK(load("{type: generated}").tasks.size() == 6);
  CHECK(load("{type: generated, limit: 12}").conversations.size() == 12);
  CHECK(load("{type: generated, from: 5, count: 1, families: [qa]}").conversations[0].id == "qa-heldout-5");
  CHECK(load("{type: generated, split: train, count: 1, families: [qa]}").conversations[0].id == "qa-train-0");
}

TEST_CASE("an unknown family or setting is refused with its place and the nearest name") {
  CHECK_THROWS_WITH(load("{type: generated, families: [arithmetics]}"),
                    Catch::Matchers::Contains("study.yaml:1") && Catch::Matchers::Contains("arithmetic"));
  CHECK_THROWS_WITH(load("{type: generated, fillers: 3}"), Catch::Matchers::Contains("fillers"));
  CHECK_THROWS_WITH(load("{type: generated, split: test}"), Catch::Matchers::Contains("heldout"));
}
