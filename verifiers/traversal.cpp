// Traversal verification: a drawn tree is judged from its leaves to its root, so that whole paths are accepted where
// single tokens would not be (Weng et al. 2025, arXiv 2505.12398). On a chain it is block verification in distribution.
//
// Going down along first proposals every node gets the weight w = min(1, w(parent) p(x) / q(x)). A leaf is accepted,
// and its whole path with it, with probability w. If it is not, it is taken out of the tree; its parent's distribution
// becomes norm(max(w p - q, 0)), the parent's weight S / (S + 1 - w) with S the mass of max(w p - q, 0), and the walk
// goes down again from the parent, which may itself be a leaf by now. Draws without replacement lose the token from q.
#include <map>
#include <vector>

#include "framework/api/verifier.h"

namespace foretell::verifiers {
namespace {

// What changes at a node while proposals below it fail.
struct NodeState {
  double weight = 1;
  std::size_t next = 0;                            // the first proposal that is still in the tree
  std::optional<Distribution> p;                   // once reduced
  std::map<DistributionId, Distribution> reduced;  // distributions drawn from without replacement
};

class Walk {
 public:
  Walk(const DraftTree& draft, Scores& scores) : draft_(draft), scores_(scores), states_(draft.size()) {}

  Verdict run(Rng& rng) {
    path_ = {kAnchor};
    for (;;) {
      descend();
      const NodeId leaf = path_.back();
      if (leaf == kAnchor || rng.bernoulli(states_[leaf].weight)) return accept(leaf, rng);
      path_.pop_back();
      reject_first_below(path_.back());
    }
  }

 private:
  const Distribution& p(NodeId node) { return states_[node].p ? *states_[node].p : scores_.distribution(node); }
  const Distribution& q(NodeId parent, DistributionId id) const {
    const auto found = states_[parent].reduced.find(id);
    return found == states_[parent].reduced.end() ? draft_.distribution(id).q : found->second;
  }

  void descend() {
    for (NodeId at = path_.back(); states_[at].next < draft_.proposals(at).size(); at = path_.back()) {
      const Proposal& proposal = draft_.proposals(at)[states_[at].next];
      const Token token = draft_.node(proposal.node).token;
      const double mass = q(at, proposal.distribution)[token];
      states_[proposal.node].weight = mass > 0 ? std::min(1.0, states_[at].weight * p(at)[token] / mass) : 0.0;
      path_.push_back(proposal.node);
      if (states_[proposal.node].weight <= 0)
        return;  // nothing below can be accepted, and no distribution there is asked for
    }
  }

  void reject_first_below(NodeId parent) {
    NodeState& state = states_[parent];
    const Proposal& proposal = draft_.proposals(parent)[state.next++];
    Excess left = excess(p(parent), q(parent, proposal.distribution), state.weight);
    const double rest = left.mass + 1 - state.weight;
    state.weight = rest > 0 ? left.mass / rest : 1.0;
    if (left.distribution) state.p = std::move(left.distribution);
    if (draft_.distribution(proposal.distribution).kind != Draws::WithoutReplacement) return;
    if (auto fewer = without(q(parent, proposal.distribution), draft_.node(proposal.node).token))
      state.reduced.insert_or_assign(proposal.distribution, std::move(*fewer));
  }

  Verdict accept(NodeId leaf, Rng& rng) {
    Verdict verdict;
    verdict.accepted.assign(path_.begin() + 1, path_.end());
    verdict.next = p(leaf).draw(rng);
    verdict.kind = draft_.proposals(leaf).empty() ? NextKind::Bonus : NextKind::Correction;
    return verdict;
  }

  const DraftTree& draft_;
  Scores& scores_;
  std::vector<NodeState> states_;
  std::vector<NodeId> path_;
};

class TraversalVerifier final : public Verifier {
 public:
  using Options = NoOptions;
  TraversalVerifier(const Options&, const BuildContext&) {}

  Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const override {
    return Walk(draft, scores).run(rng);
  }
};

FORETELL_REGISTER(Verifier, TraversalVerifier, "traversal",
                  {.summary = "judges a drawn tree from its leaves to its root; on a chain it is block",
                   .lossless = true,
                   .paper = {"Weng et al.", 2025, "2505.12398"},
                   .also_known_as = {"traversal verification"}});

}  // namespace
}  // namespace foretell::verifiers
