// The prompts of a study.
//
// Contract: load_workload() reads `{type: ..., ...}` into conversations of one or more turns, in the order of their
// file. A turn is text, which a chat template and a tokenizer make into tokens, or tokens already (random_ids). `task`
// is what results are grouped by. Generated conversations bring their right answers along.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "framework/core/config_value.h"
#include "framework/core/parameters.h"
#include "framework/core/types.h"

namespace foretell::workload {

struct Turn {
  std::string text = {};
  Tokens ids = {};                             // used instead of the text where there are any
  std::optional<std::string> answer = {};      // the one right answer, where the workload knows it
  bool answer_is_number = false;               // then the last number of a text is its answer
  bool is_right(std::string_view text) const;  // an answer must be known
};

struct Conversation {
  std::string id;
  std::string category;
  std::string task;
  std::vector<Turn> turns;
};

struct Workload {
  std::string type;
  std::vector<Conversation> conversations;
  std::vector<std::string> tasks;  // in the order of their first conversation
  int max_new_tokens = 128;
  bool ignore_eos = false;
  std::optional<std::string> chat_template;
  // Of first prompts; cell_setup.h applies them, since it takes a tokenizer, and then the limit.
  std::optional<int> prompt_tokens = {}, min_prompt_tokens = {}, max_prompt_tokens = {};
  int limit = 0;
  bool selects_by_length() const { return prompt_tokens || min_prompt_tokens || max_prompt_tokens; }
};

// `vocab` bounds the ids of random prompts.
Workload load_workload(const ConfigValue& description, const std::filesystem::path& study_folder, int vocab);

struct WorkloadDoc {
  std::string name, summary;
  std::vector<ParameterDoc> parameters;
};
std::vector<WorkloadDoc> workload_docs();

}  // namespace foretell::workload
