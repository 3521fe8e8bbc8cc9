#include "experiments/analysis/quality.h"

#include <algorithm>
#include <map>

#include "experiments/cell/run_prompts.h"
#include "experiments/util/interrupt.h"
#include "experiments/util/text_reader.h"
#include "framework/decoding/decoder.h"
#include "framework/metrics/rouge.h"

namespace foretell::analysis {
namespace {

class QualityMeasure {
 public:
  QualityMeasure(const study::Cell& cell, const cell::CellSetup& setup, std::span<results::GenerationRecord> records)
      : setup_(setup),
        records_(records),
        prompts_(setup, records),
        greedy_(*setup.target, setup.greedy->view(), {.max_batch = 1}) {
    greedy_sampling_ = cell.sampling;
    greedy_sampling_.temperature = 0;
    for (const results::GenerationRecord& record : records) {
      const bool is_greedy =
          cell.sampling.greedy() &&
          (record.arm == results::PipelineVariant::Baseline ? setup.baseline_is_plain : cell.is_baseline);
      if (is_greedy && record.repeat == 0) known_[{record.conversation, record.turn}] = record.tokens;
    }
  }

  void run(const std::function<void()>& on_answer) {
    for (results::GenerationRecord& record : records_) {
      if (record.repeat != 0) continue;
      if (util::interrupted()) return;
      record.quality = measured(record);
      if (on_answer) on_answer();
    }
  }

 private:
  using Key = std::pair<std::string, int>;  // conversation, turn

  const Tokens& greedy_answer(const results::GenerationRecord& record, const Tokens& prompt) {
    const auto [it, added] = known_.try_emplace({record.conversation, record.turn});
    if (added) {
      Request request;
      request.prompt = prompt;
      request.max_new_tokens = setup_.workload.max_new_tokens;
      request.stop_tokens = setup_.stop_tokens;
      request.sampling = greedy_sampling_;
      it->second = greedy_.run(request).tokens;
    }
    return it->second;
  }

  double log_probability_of(const Tokens& prompt, const Tokens& answer) const {
    Tokens text = prompt;
    text.insert(text.end(), answer.begin(), answer.end());
    if (answer.empty()) return 0;
    // The last token's own row says nothing about the answer, and a context may have no room for it.
    util::TextReader reader(*setup_.model, TokenSpan(text).first(text.size() - 1));
    double sum = 0;
    for (std::size_t i = 0; i < answer.size(); ++i)
      sum += util::log_probability(reader.row(prompt.size() + i - 1), answer[i]);
    return sum;
  }

  results::AnswerQuality measured(const results::GenerationRecord& record) {
    const Tokens prompt = prompts_.of(record);
    results::AnswerQuality quality{.log_probability = log_probability_of(prompt, record.tokens)};
    const Tokens& greedy = greedy_answer(record, prompt);
    quality.same_as_greedy = record.tokens == greedy;
    quality.greedy_rouge_l =
        quality.same_as_greedy ? 1 : metrics::rouge_l(record.text, setup_.dialogue.answer_text(prompt, greedy));
    return quality;
  }

  const cell::CellSetup& setup_;
  std::span<results::GenerationRecord> records_;
  cell::RunPrompts prompts_;
  decoding::Decoder greedy_;
  SamplingOptions greedy_sampling_;
  std::map<Key, Tokens> known_;
};

}  // namespace

void measure_quality(const study::Cell& cell, const cell::CellSetup& setup,
                     std::span<results::GenerationRecord> records, const std::function<void()>& on_answer) {
  if (setup.greedy) QualityMeasure(cell, setup, records).run(on_answer);
}

int answers_to_measure(std::span<const results::GenerationRecord> records) {
  return static_cast<int>(
      std::count_if(records.begin(), records.end(), [](const auto& record) { return record.repeat == 0; }));
}

}  // namespace foretell::analysis
