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
using LawAfter = std::function<Law(const Tokens& path)>;

// The target's side of a draft, from a table. Logits where a test gives some; at temperature 0 the law is a point mass
// at their highest.
class TableScores final : public Scores {
 public:
  TableScores(const DraftTree& draft, LawAfter law, std::vector<float> logits = {});
  Token argmax(NodeId node) override { return law(node).mode(); }
  const Law& law(NodeId node) override;
  std::span<const float> logits(NodeId) override { return logits_; }

 private:
  const DraftTree& draft_;
  LawAfter law_;
  std::vector<float> logits_;
  std::map<NodeId, Law> laws_;
};

std::unique_ptr<Verifier> make_verifier(const std::string& yaml);

// A distribution over `vocab` tokens, random for each path and each seed.
LawAfter random_laws(int vocab, std::uint64_t seed);

// The probability of each outcome of a verifier on one draft, by enumeration: accepted nodes, and the token after them.
using Outcomes = std::map<std::pair<std::vector<NodeId>, Token>, double>;
Outcomes outcomes_of(const Verifier& verifier, const DraftTree& draft, const LawAfter& law,
                     const std::vector<float>& logits = {});

}  // namespace foretell::testing
