#include "experiments/certify/exercise.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace foretell::certify {

// What a member drafted for a sequence since the last round.
struct MemberWatch::Member {
  struct Draft {
    Tokens text;  // that it continued: a cascade asks for drafts behind tokens that are drafted themselves
    DraftTree tree;
  };
  std::string name;
  MemberUse use;
  std::map<SlotId, std::vector<Draft>> drafts = {};
};

class MemberWatch::Watched final : public Drafter {
 public:
  Watched(std::unique_ptr<Drafter> inner, std::shared_ptr<Member> member)
      : inner_(std::move(inner)), member_(std::move(member)) {}

  DraftBudget limits() const override { return inner_->limits(); }
  DraftForm form() const override { return inner_->form(); }
  HiddenStateRequest required_hidden_states() const override { return inner_->required_hidden_states(); }
  DrafterTraits traits() const override { return inner_->traits(); }
  void check(const Request& request) const override { inner_->check(request); }
  void begin(SlotId slot, const PromptView& prompt) override {
    member_->drafts.erase(slot);
    inner_->begin(slot, prompt);
  }
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override { inner_->observe_prompt(slot, chunk); }
  void observe(std::span<const RoundView> rounds) override { inner_->observe(rounds); }
  void end(SlotId slot) override { inner_->end(slot); }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> drafts = inner_->draft(batch);
    for (std::size_t i = 0; i < drafts.size(); ++i)
      if (drafts[i].drafted() > 0)
        member_->drafts[batch[i].slot].push_back(
            {Tokens(batch[i].committed.begin(), batch[i].committed.end()), drafts[i]});
    return drafts;
  }

 private:
  std::unique_ptr<Drafter> inner_;
  std::shared_ptr<Member> member_;
};

namespace {

std::optional<NodeId> follow(const DraftTree& tree, NodeId from, TokenSpan tokens) {
  std::optional<NodeId> at = from;
  for (const Token token : tokens)
    if (at) at = tree.child(*at, token);
  return at;
}

// Whether the scored draft holds a proposal of that token by the same distribution: a draft that was made and dropped
// may have the same tokens by chance.
bool holds(const DraftTree& scored, NodeId parent, Token token, const DraftDistribution& distribution) {
  const auto proposals = scored.proposals(parent);
  return std::any_of(proposals.begin(), proposals.end(), [&](const Proposal& proposal) {
    const DraftDistribution& other = scored.distribution(proposal.distribution);
    return scored.node(proposal.node).token == token && other.kind == distribution.kind &&
           other.q[token] == distribution.q[token];
  });
}

bool holds_all(const DraftTree& scored, const DraftTree& own) {
  for (NodeId node = 0; node < own.size(); ++node) {
    const auto place = own.proposals(node).empty() ? kAnchor : follow(scored, kAnchor, own.path(node));
    if (!place) return false;
    for (const Proposal& proposal : own.proposals(node))
      if (!holds(scored, *place, own.node(proposal.node).token, own.distribution(proposal.distribution))) return false;
  }
  return true;
}

// How far the draft of a member goes along with what came out of the verification inside.
void count_inside(const DraftTree& scored, NodeId from, const DraftTree& own, MemberCounts& counts) {
  NodeId at = from, own_at = kAnchor;
  ++counts.rounds;
  while (!own.proposals(own_at).empty()) {
    std::optional<NodeId> next;
    for (const Proposal& proposal : own.proposals(own_at)) {
      next = scored.child(at, own.node(proposal.node).token);
      if (!next) continue;
      own_at = proposal.node;
      break;
    }
    if (!next) {
      ++counts.rejected;
      return;
    }
    at = *next;
    ++counts.accepted;
  }
}

int rejected_by(const decoding::RoundEvent& event) {
  if (event.record.emitted <= event.record.accepted) return 0;  // cut short
  const auto& accepted = event.view.verdict.accepted;
  std::vector<NodeId> nodes;
  for (const Proposal& proposal : event.view.draft.proposals(accepted.empty() ? kAnchor : accepted.back()))
    nodes.push_back(proposal.node);
  std::sort(nodes.begin(), nodes.end());
  return static_cast<int>(std::unique(nodes.begin(), nodes.end()) - nodes.begin());
}

}  // namespace

Exercise& Exercise::operator+=(const Exercise& other) {
  drafted += other.drafted;
  accepted += other.accepted;
  rejected += other.rejected;
  deepest = std::max(deepest, other.deepest);
  if (members.empty()) {
    members = other.members;
    return *this;
  }
  for (std::size_t i = 0; i < std::min(members.size(), other.members.size()); ++i) {
    members[i].rounds += other.members[i].rounds;
    members[i].accepted += other.members[i].accepted;
    members[i].rejected += other.members[i].rejected;
  }
  return *this;
}

std::string Exercise::missing(bool lossless) const {
  std::string out;
  const auto say = [&](const std::string& what) { out += (out.empty() ? "" : ", ") + what; };
  if (drafted == 0)
    say("no token was drafted");
  else if (accepted == 0)
    say("no drafted token was accepted");
  else if (lossless && rejected == 0)
    say("no drafted token was rejected");
  if (!lossless) return out;
  for (const MemberCounts& member : members) {
    const bool inside = member.use == MemberUse::VerifiedInside;
    if (member.rounds == 0)
      say(fmt::format("the member '{}' had no part in a draft", member.name));
    else if (inside && (member.accepted == 0 || member.rejected == 0))
      say(fmt::format("no token of the member '{}' was {} inside", member.name,
                      member.accepted == 0 ? "accepted" : "rejected"));
  }
  return out;
}

void MemberWatch::attach(BuildContext& context) {
  members_.clear();
  context.on_member = [this](std::unique_ptr<Drafter> member, const std::string& name,
                             MemberUse use) -> std::unique_ptr<Drafter> {
    members_.push_back(std::make_shared<Member>(Member{name, use}));
    return std::make_unique<Watched>(std::move(member), members_.back());
  };
}

void MemberWatch::count(const decoding::RoundEvent& event, Exercise& exercise) const {
  exercise.drafted += event.record.drafted;
  exercise.accepted += event.record.accepted;
  exercise.rejected += rejected_by(event);
  exercise.deepest = std::max(exercise.deepest, event.record.accepted);
  exercise.members.reserve(members_.size());
  for (std::size_t i = exercise.members.size(); i < members_.size(); ++i)
    exercise.members.push_back({members_[i]->name, members_[i]->use});
  const auto before = event.view.committed.size() - static_cast<std::size_t>(event.view.emitted);
  for (std::size_t i = 0; i < members_.size(); ++i) {
    std::vector<Member::Draft>& drafts = members_[i]->drafts[event.view.slot];
    MemberCounts& counts = exercise.members[i];
    for (const Member::Draft& draft : drafts) {
      const auto from = follow(event.view.draft, kAnchor, TokenSpan(draft.text).subspan(before));
      if (members_[i]->use == MemberUse::VerifiedInside) {
        if (from) count_inside(event.view.draft, *from, draft.tree, counts);
      } else {
        counts.rounds += holds_all(event.view.draft, draft.tree);
      }
    }
    drafts.clear();
  }
}

}  // namespace foretell::certify
