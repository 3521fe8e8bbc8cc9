#include "tests/verifiers/helpers.h"

#include "experiments/certify/enumerator.h"
#include "framework/core/mix.h"
#include "tests/support/rooms.h"

namespace foretell::testing {

TableScores::TableScores(const DraftTree& draft, LawAfter law, std::vector<float> logits)
    : draft_(draft), law_(std::move(law)), logits_(std::move(logits)) {}

const Law& TableScores::law(NodeId node) {
  const auto known = laws_.find(node);
  return known != laws_.end() ? known->second : laws_.emplace(node, law_(draft_.path(node))).first->second;
}

std::unique_ptr<Verifier> make_verifier(const std::string& yaml) {
  return Registry<Verifier>::instance().make(parse_yaml(yaml, "verifier"), BuildContext());
}

LawAfter random_laws(int vocab, std::uint64_t seed) {
  return [=, known = std::make_shared<std::map<Tokens, Law>>()](const Tokens& path) {
    if (const auto found = known->find(path); found != known->end()) return found->second;
    std::uint64_t key = mix64(seed);
    for (const Token token : path) key = mix64(key ^ static_cast<std::uint64_t>(token + 1));
    PhiloxRng rng({.seed = key, .purpose = RngPurpose::Workload});
    std::vector<double> weights;
    for (int t = 0; t < vocab; ++t) weights.push_back(0.05 + rng.uniform());
    return known->emplace(path, Law::dense(std::move(weights))).first->second;
  };
}

Outcomes outcomes_of(const Verifier& verifier, const DraftTree& draft, const LawAfter& law,
                     const std::vector<float>& logits) {
  Outcomes outcomes;
  certify::Enumerator enumerator;
  enumerator.run([&] {
    TableScores scores(draft, law, logits);
    const auto rng = enumerator.make_rng();
    const Verdict verdict = verifier.verify(draft, scores, *rng);
    outcomes[{verdict.accepted, verdict.next}] += enumerator.weight();
  });
  return outcomes;
}

}  // namespace foretell::testing
