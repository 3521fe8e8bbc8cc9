// Recorded runs that say of every position of an answer, and not only where a round began, how many tokens a round that
// starts there emits: what any rule of draft lengths would have met.
//
// Contract: one JSON object a line (SpecDecode-Bench's layout): id, prompt_token_ids, generated_token_ids, and for each
// way of drafting ("arm") acc_NAME: {acc_len: [...]}. Entry i counts the tokens of a round at position i, the target's
// own included: 1 where nothing is accepted. An arm may have another number of positions than generated_token_ids: it
// was then another generation. Arms without positions are left out. What cannot be used is an Error with file:line.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "framework/core/types.h"

namespace foretell::datasets {

inline constexpr int kMostAcceptLength = 4097;

struct AcceptRun {
  std::string id;
  Tokens prompt;     // never empty
  Tokens generated;  // may be empty
  std::map<std::string, std::vector<int>> arms = {};
};

std::vector<AcceptRun> parse_accept_runs(std::string_view bytes, const std::string& name);
// A file, or all *.jsonl of a folder in order of their names.
std::vector<AcceptRun> read_accept_runs(const std::filesystem::path& file_or_folder);

}  // namespace foretell::datasets
