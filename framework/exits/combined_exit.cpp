#include "framework/exits/combined_exit.h"

#include <algorithm>
#include <set>

#include "framework/core/error.h"

namespace foretell::exits {

CombinedExit::CombinedExit(const ConfigValue& policies, const BuildContext& context, Leave leave) : leave_(leave) {
  if (!policies.is_list() || policies.items().empty())
    fail_at(policies.where(), "policies: expected a list of exit policies: [{{type: ...}}, {{type: ...}}]");
  for (const ConfigValue& item : policies.items()) {
    Member member{.policy = Registry<ExitPolicy>::instance().make(item, context)};
    member.wants = member.policy->wants();
    members_.push_back(std::move(member));
  }
}

std::vector<int> CombinedExit::layers(int num_layers) const {
  std::set<int> all;
  for (Member& member : members_) {
    member.layers = member.policy->layers(num_layers);
    all.insert(member.layers.begin(), member.layers.end());
  }
  return {all.begin(), all.end()};
}

ExitWants CombinedExit::wants() const {
  ExitWants all;
  std::set<Token> tokens;
  for (const Member& member : members_) {
    all.logits = all.logits || member.wants.logits;
    all.states = all.states || member.wants.states;
    tokens.insert(member.wants.tokens.begin(), member.wants.tokens.end());
  }
  if (!all.logits) all.tokens.assign(tokens.begin(), tokens.end());
  return all;
}

void CombinedExit::decide(const ExitProbe& probe, std::span<char> leaves) {
  std::fill(leaves.begin(), leaves.end(), leave_ == Leave::IfAll ? 1 : 0);
  for (Member& member : members_) {
    std::vector<char> own(leaves.size(), 0);
    if (std::binary_search(member.layers.begin(), member.layers.end(), probe.layer)) own = ask(member, probe);
    for (std::size_t i = 0; i < own.size(); ++i)
      leaves[i] = leave_ == Leave::IfAll ? leaves[i] != 0 && own[i] != 0 : leaves[i] != 0 || own[i] != 0;
  }
}

std::vector<char> CombinedExit::ask(Member& member, const ExitProbe& probe) const {
  const bool first = probe.layer == member.layers.front();
  const std::vector<float> logits = logits_for(member, probe);
  ExitProbe own{probe.layer, first, probe.rows, logits, {}, {}};
  std::vector<float> previous;
  if (member.wants.states) {
    own.states = probe.states;
    for (std::size_t i = 0; i < probe.rows.size(); ++i) {
      std::vector<float>& before = member.states[probe.rows[i].row];
      if (!first) previous.insert(previous.end(), before.begin(), before.end());
      const std::span<const float> state = probe.of(probe.states, i);
      before.assign(state.begin(), state.end());
    }
    own.previous = previous;
  }
  std::vector<char> leaves(probe.rows.size(), 0);
  member.policy->decide(own, leaves);
  return leaves;
}

// All logits, or the columns of the member's tokens.
std::vector<float> CombinedExit::logits_for(const Member& member, const ExitProbe& probe) const {
  if (member.wants.logits) return {probe.logits.begin(), probe.logits.end()};
  const std::vector<Token> shown = wants().tokens;
  std::vector<float> out;
  for (std::size_t i = 0; i < probe.rows.size() && !member.wants.tokens.empty(); ++i) {
    const std::span<const float> row = probe.of(probe.logits, i);
    for (const Token token : member.wants.tokens) {
      const auto column = shown.empty() ? token : std::lower_bound(shown.begin(), shown.end(), token) - shown.begin();
      out.push_back(row[static_cast<std::size_t>(column)]);
    }
  }
  return out;
}

void CombinedExit::observe(std::span<const ExitRecord> records) {
  for (Member& member : members_) member.policy->observe(records);
}

bool CombinedExit::row_independent() const {
  return std::all_of(members_.begin(), members_.end(),
                     [](const Member& member) { return member.policy->row_independent(); });
}

}  // namespace foretell::exits
