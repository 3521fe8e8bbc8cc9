#include "experiments/study/pipeline.h"

#include "tests/support/catch.h"

using namespace foretell;

namespace {

std::vector<std::string> given_to(const std::string& drafter, const std::string& verifier = "rejection") {
  PipelineSection section;
  section.drafter = parse_yaml(drafter, "drafter");
  section.verifier = parse_yaml(verifier, "verifier");
  return given_acceptance(section);
}

}  // namespace

TEST_CASE("a pipeline inherits a fed-in acceptance from whatever it is made of") {
  const std::vector<std::string> oracle = {"drafter 'oracle'"}, none;
  CHECK(given_to("{type: oracle, accept_lengths: run.jsonl}") == oracle);
  CHECK(given_to("oracle") == oracle);
  CHECK(given_to("{type: cascade, drafter: {type: oracle}}") == oracle);
  CHECK(given_to("{type: cascade, drafter: oracle}") == oracle);
  CHECK(given_to("{type: hybrid, copying: {type: prompt_lookup}, model: {type: oracle}}") == oracle);
  CHECK(given_to("{type: merged, drafters: [{type: prompt_lookup}, {type: oracle}, {type: oracle}]}") == oracle);
  CHECK(given_to(
            "{type: first_of, drafters: [{type: merged, drafters: [{type: rest}, {type: oracle}]}, {type: model}]}") ==
        oracle);
  CHECK(given_to("{type: model}", "{type: synthetic, rate: 0.5}") == std::vector<std::string>{"verifier 'synthetic'"});
  CHECK(given_to("{type: first_of, drafters: [{type: prompt_lookup}, {type: model}]}") == none);
  CHECK(given_to("{type: prompt_lookup}") == none);
}

TEST_CASE("rules of the target keep its distribution but not the checkpoint's") {
  const auto of = [](const std::string& target, const std::string& verifier = "rejection", bool independent = true) {
    PipelineSection section;
    section.target = parse_yaml(target, "target");
    section.verifier = parse_yaml(verifier, "verifier");
    return losslessness(section, independent);
  };
  CHECK(of("~") == Losslessness{true, true});
  CHECK(of("{}") == Losslessness{true, true});
  CHECK(of("{int8: false, router: ~}") == Losslessness{true, true});
  CHECK(of("{router: {type: top_k, k: 1}}") == Losslessness{true, false});
  CHECK(of("{int8: true}") == Losslessness{true, false});
  CHECK(of("{int8: true}", "rejection", false) == Losslessness{false, false});
  CHECK(of("{int8: true}", "typical") == Losslessness{false, false});
  CHECK(of("~", "typical") == Losslessness{false, false});
  CHECK(in_words(of("{int8: true}")) == "lossless towards the target's rules, lossy towards the checkpoint");
  PipelineSection a, b;
  a.target = parse_yaml("{int8: false}", "target");
  CHECK(same_rules(a, b));
  a.target = parse_yaml("{int8: true}", "target");
  CHECK_FALSE(same_rules(a, b));
}
