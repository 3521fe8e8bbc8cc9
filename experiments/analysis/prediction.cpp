#include "experiments/analysis/prediction.h"

#include "experiments/util/paths.h"
#include "framework/api/drafter.h"
#include "framework/core/error.h"

namespace foretell::analysis {
namespace {

bool is_type(const ConfigValue& part, std::string_view name) {
  const ConfigValue* type = part.is_scalar() ? &part : part.find("type");
  return type && type->is_scalar() && type->text() == name;
}

// A chain of fixed depth, drawn from the distribution that the target's is compared with.
bool is_predictable(const study::Cell& cell, const cell::CellSetup& setup) {
  return setup.model && !study::has_rules(cell.pipeline) && !setup.draft_folder.empty() &&
         is_type(cell.pipeline.drafter, "model") && cell.pipeline.tree.is_null() &&
         !cell.pipeline.drafter.find("tree") && is_type(cell.pipeline.policy, "fixed") &&
         !cell.pipeline.policy.find("num_speculative_tokens") &&
         !Sampler(cell.sampling, setup.model->config().vocab_size).adjusts();
}

// First turns with their answers: those of later turns depend on what was answered before.
std::vector<Passage> outputs(const cell::CellSetup& setup, std::span<const results::GenerationRecord> records) {
  std::map<std::string, const results::GenerationRecord*> answers;
  for (const results::GenerationRecord& record : records)
    if (record.arm == results::PipelineVariant::Method && record.repeat == 0 && record.turn == 0)
      answers[record.conversation] = &record;
  std::vector<Passage> passages;
  for (const workload::Conversation& conversation : setup.workload.conversations) {
    const auto answer = answers.find(conversation.id);
    if (answer == answers.end()) continue;
    Passage passage{setup.dialogue.prompt(conversation, 0, {}), 0};
    passage.first = static_cast<int>(passage.tokens.size());
    const Tokens& tokens = answer->second->tokens;
    passage.tokens.insert(passage.tokens.end(), tokens.begin(), tokens.end());
    passages.push_back(std::move(passage));
  }
  return passages;
}

}  // namespace

void OverlapSection::declare(Parameters& p) {
  p.add("file", file, "running text", {.required = true});
  p.add("windows", windows, "passages, spread evenly over it", {.min = 1, .max = 1e5});
  p.add("window_tokens", window_tokens, "tokens of each", {.min = 2, .max = 1e6});
}

Predictor::Predictor(const ConfigValue& section, const std::filesystem::path& study_folder, cell::ModelPool& pool)
    : pool_(pool) {
  if (section.is_null()) return;
  section_.emplace();
  Parameters::read(section, "section 'overlap'", *section_);
  text_ = util::resolve_path(section_->file, section.find("file")->where(), study_folder);
}

std::optional<Prediction> Predictor::predict(const study::Cell& cell, const cell::CellSetup& setup,
                                             std::span<const results::GenerationRecord> records) {
  if (!section_ || !is_predictable(cell, setup)) return std::nullopt;
  const auto passages = outputs(setup, records);
  if (passages.empty() || !setup.tokenizer) return std::nullopt;
  const auto draft = pool_.draft_model(*setup.model, setup.tokenizer.get(), setup.draft_folder,
                                       cell::load_options(cell.model.dtype, cell.model.device, cell.model.kv_dtype));
  const std::string key =
      fmt::format("{}|{}|{}", setup.target_folder.string(), setup.draft_folder.string(), cell.sampling.temperature) +
      fmt::format("|{}|{}|{}", cell.sampling.top_k, cell.sampling.top_p, cell.sampling.min_p);
  if (!on_text_.contains(key)) {
    const auto text = cut_passages(text_, *setup.tokenizer, section_->windows, section_->window_tokens);
    on_text_[key] = measure_overlap(*setup.model, *draft, text, cell.sampling).expected_acceptance;
  }
  return Prediction{setup.method.front().drafter->limits().depth, on_text_[key],
                    measure_overlap(*setup.model, *draft, passages, cell.sampling).expected_acceptance};
}

}  // namespace foretell::analysis
