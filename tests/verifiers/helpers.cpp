#include "tests/verifiers/helpers.h"

#include "experiments/certify/enumerator.h"
#include "framework/core/mix.h"
#include "tests/support/rooms.h"

namespace foretell::testing {

TableScores::TableScores(const DraftTree& draft, DistributionAfter distribution, std::vector<float> logits)
    : draft_(draft), distribution_(std::move(distribution)), logits_(std::move(logits)) {}

const Distribution& TableScores::distribution(NodeId node) {
  const auto known = distributions_.find(node);
  return known != distributions_.end() ? known->second
                                       : distributions_.emplace(node, distribution_(draft_.path(node))).first->second;
}

std::unique_ptr<Verifier> make_verifier(const std::string& yaml) {
  return Registry<Verifier>::instance().make(parse_yaml(yaml, "verifier"), BuildContext());
}

DistributionAfter random_distributions(int vocab, std::uint64_t seed) {
  return [=, known = std::make_shared<std::map<Tokens, Distribution>>()](const Tokens& path) {
    if (const auto found = known->find(path); found != known->end()) return found->second;
    std::uint64_t key = mix64(seed);
    for (const Token token : path) key = mix64(key ^ static_cast<std::uint64_t>(token + 1));
    PhiloxRng rng({.seed = key, .purpose = RngPurpose::Workload});
    std::vector<double> weights;
    for (int t = 0; t < vocab; ++t) weights.push_back(0.05 + rng.uniform());
    return known->emplace(path, Distribution::dense(std::move(weights))).first->second;
  };
}

Outcomes outcomes_of(const Verifier& verifier, const DraftTree& draft, const DistributionAfter& distribution,
                     const std::vector<float>& logits) {
  Outcomes outcomes;
  certify::Enumerator enumerator;
  enumerator.run([&] {
    TableScores scores(draft, distribution, logits);
    const auto rng = enumerator.make_rng();
    const Verdict verdict = verifier.verify(draft, scores, *rng);
    outcomes[{verdict.accepted, verdict.next}] += enumerator.weight();
  });
  return outcomes;
}

}  // namespace foretell::testing
