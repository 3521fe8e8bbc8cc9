// Verifiers by themselves: drafts and distributions from tables, no model and no loop.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "framework/api/build_context.h"
#include "framework/api/verifier.h"
#include "tests/support/rooms.h"

namespace foretell::testing {

// The distribution after the drafted tokens of a path.
using DistributionAfter = std::function<Distribution(const Tokens& path)>;

// The target's side of a draft, from a table. Logits where a test gives some; at temperature 0 the distribution is a
// point mass at their highest.
class TableScores final : public Scores {
 public:
  TableScores(const DraftTree& draft, DistributionAfter distribution, std::vector<float> logits = {});
  Token argmax(NodeId node) override { return distribution(node).mode(); }
  const Distribution& distribution(NodeId node) override;
  std::span<const float> logits(NodeId) override { return logits_; }

 private:
  const DraftTree& draft_;
  DistributionAfter distribution_;
  std::vector<float> logits_;
  std::map<NodeId, Distribution> distributions_;
};

std::unique_ptr<Verifier> make_verifier(const std::string& yaml);

// A distribution over `vocab` tokens, random for each path and each seed.
DistributionAfter random_distributions(int vocab, std::uint64_t seed);

// The probability of each outcome of a verifier on one draft, by enumeration: accepted nodes, and the token after them.
using Outcomes = std::map<std::pair<std::vector<NodeId>, Token>, double>;
Outcomes outcomes_of(const Verifier& verifier, const DraftTree& draft, const DistributionAfter& distribution,
                     const std::vector<float>& logits = {});

}  // namespace foretell::testing
