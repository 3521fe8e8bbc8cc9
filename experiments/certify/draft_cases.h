// What drafters are certified with: every form that a draft can take, with toys on which it drafts, is accepted and is
// rejected.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/core/types.h"

namespace foretell::certify {

// A drafter, configured; trees are tree policies or empty.
struct DraftCase {
  std::string name = {};  // "tree, without replacement"
  std::string drafter = {};
  std::string deep_drafter = {};  // of deep drafts; empty: `drafter`
  std::string tree = {};
  std::string deep_tree = {};  // four tokens deep with few branches; empty: `tree`
  int vocab = 2;  // of the toys for deep drafts and for sampling: where two tokens are too few to reject one, more
  bool follows_another = false;  // a learned head or preset whose drafts reach a verifier as those of another one do
  bool many_branches = false;    // of a deep draft only the first round is walked; in the quick profile fewer toys
};

// Of learned heads and presets those that stand for their kind: the others follow them.
std::span<const std::string_view> leading_drafters();

// A registered drafter with its defaults. Trained parts, which a parameter `head` names, are random ones: every drafter
// that has them accepts `head: random`.
std::string default_form(const std::string& drafter);

// Those of one drafter, or of all. A drafter that is not known here, as one of a plug-in, has one case: its defaults.
std::vector<DraftCase> draft_cases(const std::string& drafter);

// `sparse_cache` with an attention policy: a name, "all", or a description ("{type: streaming, window: 1}"). Forms with
// little in sight are known of our own policies; another one is taken as it is described.
std::vector<DraftCase> attention_cases(const std::string& attention);

// A text of tokens below `vocab` in which what stands at its end has stood before, with more than ten tokens behind it:
// whoever copies finds something.
Tokens prompt_with_repeats(int vocab);

}  // namespace foretell::certify
