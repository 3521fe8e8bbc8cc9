#include "experiments/workload/workload.h"

#include <algorithm>
#include <functional>

#include "experiments/util/paths.h"
#include "experiments/util/text_prompts.h"
#include "experiments/workload/distribution_replay.h"
#include "framework/core/error.h"
#include "framework/core/rng.h"
#include "framework/datasets/prompts.h"
#include "framework/datasets/tasks.h"
#include "framework/io/file_bytes.h"
#include "framework/unicode/unicode.h"

namespace foretell::workload {
namespace {

// What every workload has.
struct CommonOptions {
  int limit = 0;
  int max_new_tokens = 128;
  bool ignore_eos = false;
  std::optional<std::string> chat_template;
  std::optional<int> prompt_tokens, min_prompt_tokens, max_prompt_tokens;

  void declare_common(Parameters& p) {
    p.add("limit", limit, "maximum number of conversations, from the first one on; 0: all", {.min = 0});
    p.add("max_new_tokens", max_new_tokens, "of each answer", {.min = 1, .aliases = {"max_tokens", "output_len"}});
    p.add("ignore_eos", ignore_eos, "answers do not end at a stop token");
    p.add("chat_template", chat_template,
          "vicuna, llama-3, chatml or none; without it the model's own if it is one of these, else the bare text; of a "
          "recorded target "
          "what that names");
    p.add("prompt_tokens", prompt_tokens,
          "bare prompts are cut to exactly this number of tokens, shorter ones are left out",
          {.min = 1, .aliases = {"input_len", "random_input_len"}});
    p.add("min_prompt_tokens", min_prompt_tokens, "conversations whose first prompt has fewer tokens are left out",
          {.min = 1});
    p.add("max_prompt_tokens", max_prompt_tokens, "conversations whose first prompt has more tokens are left out",
          {.min = 1});
  }
};

struct SpecBenchOptions : CommonOptions {
  std::string file;
  std::vector<std::string> categories;
  SpecBenchOptions() { max_new_tokens = 1024; }
  void declare(Parameters& p) {
    p.add("file", file, "question.jsonl", {.required = true});
    p.add("categories", categories, "categories or tasks to keep; empty for all");
    declare_common(p);
  }
};

struct JsonlOptions : CommonOptions {
  std::string file;
  void declare(Parameters& p) {
    p.add("file", file,
          "one object a line with turns, prompt, question or text; optionally an id, a category and the right answer",
          {.required = true});
    declare_common(p);
  }
};

// Benchmarks whose files have a fixed layout.
struct MtBenchOptions : CommonOptions {
  std::string file;
  MtBenchOptions() { max_new_tokens = 1024; }
  void declare(Parameters& p) {
    p.add("file", file, "MT-bench's question.jsonl: question_id, category, turns", {.required = true});
    declare_common(p);
  }
};

struct HumanEvalOptions : CommonOptions {
  std::string file;
  HumanEvalOptions() { max_new_tokens = 512; }
  void declare(Parameters& p) {
    p.add("file", file, "HumanEval.jsonl: task_id, prompt; the model continues the code", {.required = true});
    declare_common(p);
  }
};

struct Gsm8kOptions : CommonOptions {
  std::string file;
  Gsm8kOptions() { max_new_tokens = 512; }
  void declare(Parameters& p) {
    p.add("file", file,
          "GSM8K's test.jsonl: question, answer; an answer is right if its last number is the one behind ####",
          {.required = true});
    declare_common(p);
  }
};

struct TextOptions : CommonOptions {
  std::string file;
  int count = 8, prompt_chars = 200;
  void declare(Parameters& p) {
    p.add("file", file, "running text in UTF-8", {.required = true});
    p.add("count", count, "prompts, cut out evenly over the file", {.min = 1, .max = 1e6});
    p.add("prompt_chars", prompt_chars, "about the length of each, in bytes", {.min = 1, .max = 1e6});
    declare_common(p);
  }
};

struct PromptsOptions : CommonOptions {
  std::vector<std::string> prompts;
  void declare(Parameters& p) {
    p.add("prompts", prompts, "the prompts themselves", {.required = true});
    declare_common(p);
  }
};

struct RandomIdsOptions : CommonOptions {
  int count = 8, length = 64, phrases = 4, phrase_length = 8;
  std::int64_t seed = 1;
  void declare(Parameters& p) {
    p.add("count", count, "conversations", {.min = 1, .max = 1e6});
    p.add("length", length, "tokens of each prompt", {.min = 1, .max = 1e6});
    p.add("phrases", phrases, "each prompt is made of this many different phrases, repeated, so that n-grams come back",
          {.min = 1});
    p.add("phrase_length", phrase_length, "tokens of each phrase", {.min = 1});
    p.add("seed", seed, "of the prompts", {.min = 0});
    declare_common(p);
  }
};

struct GeneratedOptions : CommonOptions {
  std::vector<std::string> families;
  int count = 20, from = 0;
  std::string split = "heldout";
  datasets::TaskSettings settings;
  GeneratedOptions() {
    max_new_tokens = 160;
    chat_template = "chatml";
  }
  void declare(Parameters& p) {
    p.add("families", families, "of `foretell tasks`; empty for all six");
    p.add("count", count, "conversations of each family", {.min = 1, .max = 1e6});
    p.add("from", from, "number of the first conversation", {.min = 0});
    p.add("split", split, "held-out conversations were never trained on", {.choices = {"heldout", "train"}});
    settings.declare(p);
    declare_common(p);
  }
};

Workload start(const CommonOptions& options) {
  Workload workload;
  workload.max_new_tokens = options.max_new_tokens;
  workload.ignore_eos = options.ignore_eos;
  workload.chat_template = options.chat_template;
  workload.prompt_tokens = options.prompt_tokens;
  workload.min_prompt_tokens = options.min_prompt_tokens;
  workload.max_prompt_tokens = options.max_prompt_tokens;
  return workload;
}

// Prompts of a file become conversations. Spec-Bench groups by its six tasks, other files by the category that each
// line names.
void add_prompts(const std::vector<datasets::Prompt>& prompts, bool spec_bench, const std::string& fallback,
                 Workload& workload) {
  for (const datasets::Prompt& prompt : prompts) {
    const std::string category = prompt.category.empty() ? fallback : prompt.category;
    Conversation conversation{prompt.id, category, spec_bench ? datasets::spec_bench_task(category) : category, {}};
    for (const std::string& text : prompt.turns) conversation.turns.push_back({.text = text});
    if (!prompt.answer.empty()) conversation.turns.back().answer = prompt.answer;
    workload.conversations.push_back(std::move(conversation));
  }
}

void keep_categories(const std::vector<std::string>& wanted, const ConfigValue& description, Workload& workload) {
  if (wanted.empty()) return;
  std::vector<std::string> known;
  for (const Conversation& c : workload.conversations)
    for (const std::string& name : {c.category, c.task})
      if (std::find(known.begin(), known.end(), name) == known.end()) known.push_back(name);
  for (const std::string& name : wanted)
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw Error(description.find("categories")->where(), unknown_name_message("category", name, known));
  std::erase_if(workload.conversations, [&](const Conversation& c) {
    return std::find(wanted.begin(), wanted.end(), c.category) == wanted.end() &&
           std::find(wanted.begin(), wanted.end(), c.task) == wanted.end();
  });
}

Workload load(const SpecBenchOptions& options, const ConfigValue& description, const std::filesystem::path& folder,
              int) {
  Workload workload = start(options);
  const auto prompts =
      datasets::read_prompts(util::resolve_path(options.file, description.find("file")->where(), folder));
  add_prompts(prompts, true, "spec_bench", workload);
  keep_categories(options.categories, description, workload);
  return workload;
}

Workload load(const JsonlOptions& options, const ConfigValue& description, const std::filesystem::path& folder, int) {
  Workload workload = start(options);
  const auto prompts =
      datasets::read_prompts(util::resolve_path(options.file, description.find("file")->where(), folder));
  add_prompts(prompts, false, "prompts", workload);
  return workload;
}

Workload load(const MtBenchOptions& options, const ConfigValue& description, const std::filesystem::path& folder, int) {
  Workload workload = start(options);
  add_prompts(datasets::read_prompts(util::resolve_path(options.file, description.find("file")->where(), folder)),
              false, "mt_bench", workload);
  return workload;
}

Workload load(const HumanEvalOptions& options, const ConfigValue& description, const std::filesystem::path& folder,
              int) {
  Workload workload = start(options);
  add_prompts(datasets::read_prompts(util::resolve_path(options.file, description.find("file")->where(), folder)),
              false, "humaneval", workload);
  return workload;
}

Workload load(const Gsm8kOptions& options, const ConfigValue& description, const std::filesystem::path& folder, int) {
  Workload workload = start(options);
  const auto file = util::resolve_path(options.file, description.find("file")->where(), folder);
  add_prompts(datasets::read_prompts(file), false, "gsm8k", workload);
  for (Conversation& conversation : workload.conversations) {
    Turn& last = conversation.turns.back();
    if (!last.answer || last.answer->find("####") == std::string::npos)
      fail("{}: prompt {}: expected an \"answer\" that ends with #### and a number", file.string(), conversation.id);
    last.answer = datasets::last_number(last.answer->substr(last.answer->rfind("####")));
    last.answer_is_number = true;
  }
  return workload;
}

Workload load(const TextOptions& options, const ConfigValue& description, const std::filesystem::path& folder, int) {
  Workload workload = start(options);
  const auto file = util::resolve_path(options.file, description.find("file")->where(), folder);
  for (const std::string& prompt :
       util::cut_prompts(unicode::lossy(io::read_file_bytes(file)), options.count, options.prompt_chars))
    workload.conversations.push_back(
        {std::to_string(workload.conversations.size() + 1), "text", "text", {{.text = prompt}}});
  return workload;
}

Workload load(const PromptsOptions& options, const ConfigValue& description, const std::filesystem::path&, int) {
  if (options.prompts.empty()) fail_at(description.where(), "workload 'prompts' has no prompt");
  Workload workload = start(options);
  for (std::size_t i = 0; i < options.prompts.size(); ++i)
    workload.conversations.push_back({std::to_string(i + 1), "prompts", "prompts", {{.text = options.prompts[i]}}});
  return workload;
}

Workload load(const RandomIdsOptions& options, const ConfigValue&, const std::filesystem::path&, int vocab) {
  Workload workload = start(options);
  for (int i = 0; i < options.count; ++i) {
    PhiloxRng rng({static_cast<std::uint64_t>(options.seed), static_cast<std::uint64_t>(i), 0, RngPurpose::Workload});
    std::vector<Tokens> phrases(options.phrases);
    for (Tokens& phrase : phrases)
      for (int t = 0; t < options.phrase_length; ++t) phrase.push_back(static_cast<Token>(rng.below(vocab)));
    Tokens ids;
    while (static_cast<int>(ids.size()) < options.length) {
      const Tokens& phrase = phrases[rng.below(phrases.size())];
      ids.insert(ids.end(), phrase.begin(), phrase.end());
    }
    ids.resize(options.length);
    workload.conversations.push_back({std::to_string(i + 1), "random_ids", "random_ids", {{.ids = std::move(ids)}}});
  }
  return workload;
}

void check_families(const std::vector<std::string>& families, const ConfigValue& description) {
  const std::vector<std::string> known(datasets::task_families().begin(), datasets::task_families().end());
  for (const std::string& family : families)
    if (std::find(known.begin(), known.end(), family) == known.end())
      throw Error(description.find("families")->where(), unknown_name_message("task family", family, known));
}

Workload load(const GeneratedOptions& options, const ConfigValue& description, const std::filesystem::path&, int) {
  Workload workload = start(options);
  std::vector<std::string> families = options.families;
  if (families.empty()) families.assign(datasets::task_families().begin(), datasets::task_families().end());
  check_families(families, description);
  const datasets::TaskSplit split =
      options.split == "train" ? datasets::TaskSplit::Train : datasets::TaskSplit::Heldout;
  // Family by family in turn, so that a limit keeps some of each.
  for (int i = 0; i < options.count; ++i) {
    for (const std::string& family : families) {
      const datasets::TaskExample example = datasets::make_task(family, options.settings, split, options.from + i);
      Conversation conversation{example.id, family, family, {}};
      for (const datasets::TaskTurn& turn : example.turns)
        conversation.turns.push_back({.text = turn.prompt, .answer = turn.answer});
      workload.conversations.push_back(std::move(conversation));
    }
  }
  return workload;
}

void finish(int limit, const ConfigValue& description, Workload& workload) {
  auto& conversations = workload.conversations;
  workload.limit = limit;
  if (limit > 0 && static_cast<int>(conversations.size()) > limit && !workload.selects_by_length())
    conversations.resize(limit);
  if (conversations.empty()) fail_at(description.where(), "the workload holds no conversation");
  for (const Conversation& c : conversations)
    if (std::find(workload.tasks.begin(), workload.tasks.end(), c.task) == workload.tasks.end())
      workload.tasks.push_back(c.task);
}

struct WorkloadKind {
  WorkloadDoc doc;
  std::function<Workload(const ConfigValue&, const std::filesystem::path&, int)> load;
};

template <class Options>
WorkloadKind workload_kind(const std::string& name, const std::string& summary) {
  return {{name, summary, Parameters::describe<Options>()},
          [name](const ConfigValue& description, const std::filesystem::path& folder, int vocab) {
            Options options;
            Parameters::read(description, "workload '" + name + "'", options, {"type"});
            Workload workload = load(options, description, folder, vocab);
            workload.type = name;
            finish(options.limit, description, workload);
            return workload;
          }};
}

const std::vector<WorkloadKind>& workload_kinds() {
  static const std::vector<WorkloadKind> all = {
      workload_kind<SpecBenchOptions>(
          "spec_bench", "Spec-Bench's question.jsonl: six tasks, turns after one another; writes answers.jsonl"),
      workload_kind<JsonlOptions>("jsonl", "any file of one JSON object a line"),
      workload_kind<MtBenchOptions>("mt_bench", "MT-bench's question.jsonl, by its eight categories"),
      workload_kind<HumanEvalOptions>("humaneval", "HumanEval's functions to complete"),
      workload_kind<Gsm8kOptions>("gsm8k", "GSM8K's questions, with their right answers"),
      workload_kind<TextOptions>("text", "prompts cut out of a file of running text, which the model continues"),
      workload_kind<PromptsOptions>("prompts", "prompts written in the study itself"),
      workload_kind<GeneratedOptions>("generated", "conversations of six generated task families with exact answers"),
      workload_kind<RandomIdsOptions>("random_ids",
                                      "random tokens in repeated phrases, for models without a tokenizer"),
  };
  return all;
}

}  // namespace

bool Turn::is_right(std::string_view text) const {
  FORETELL_CHECK(answer.has_value(), "no answer is known");
  return answer_is_number ? datasets::last_number(text) == *answer : datasets::exact_match(text, *answer);
}

Workload load_workload(const ConfigValue& description, const std::filesystem::path& study_folder, int vocab) {
  const ConfigValue* type = description.find("type");
  if (!type) fail_at(description.where(), "a workload needs the key 'type'; see `foretell list workloads`");
  const std::string name = read_text(*type, "type");
  if (name == "recorded") fail_at(type->where(), "workload 'recorded' needs the target {{type: replay, probs: ...}}");
  std::vector<std::string> known;
  for (const WorkloadKind& kind : workload_kinds()) {
    if (kind.doc.name == name) return kind.load(description, study_folder, vocab);
    known.push_back(kind.doc.name);
  }
  throw Error(type->where(), unknown_name_message("workload", name, known));
}

std::vector<WorkloadDoc> workload_docs() {
  std::vector<WorkloadDoc> docs;
  for (const WorkloadKind& kind : workload_kinds()) docs.push_back(kind.doc);
  docs.push_back({"recorded", "the prompts of a recorded run, with target {type: replay, probs: ...} only",
                  Parameters::describe<RecordedWorkloadOptions>()});
  return docs;
}

}  // namespace foretell::workload
