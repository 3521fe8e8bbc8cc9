#include "experiments/analysis/overlap.h"

#include <algorithm>
#include <cmath>

#include "experiments/util/text_reader.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/file_bytes.h"
#include "framework/sampling/distribution.h"
#include "framework/unicode/unicode.h"

namespace foretell::analysis {
OverlapReport measure_overlap(const model::LanguageModel& target, const model::LanguageModel& draft,
                              std::span<const Passage> passages, const SamplingOptions& sampling) {
  const int vocab = target.config().vocab_size;
  if (draft.config().vocab_size != vocab)
    fail("the draft model has a vocabulary of {} tokens, the target has {}: they must be the same",
         draft.config().vocab_size, vocab);
  const Sampler sampler(sampling, vocab);
  const auto longest = static_cast<std::size_t>(std::min(target.config().context, draft.config().context));
  OverlapReport report;
  for (const Passage& passage : passages) {
    const TokenSpan tokens = TokenSpan(passage.tokens).first(std::min(passage.tokens.size(), longest));
    util::TextReader p(target, tokens), q(draft, tokens);
    for (auto next = static_cast<std::size_t>(passage.first); next < tokens.size(); ++next) {
      const auto p_row = p.row(next - 1), q_row = q.row(next - 1);
      report.argmax_agreement += argmax_checked(p_row) == argmax_checked(q_row);
      report.expected_acceptance += overlap(sampler.distribution(p_row), sampler.distribution(q_row));
      report.target_perplexity -= util::log_probability(p_row, tokens[next]);
      report.draft_perplexity -= util::log_probability(q_row, tokens[next]);
      ++report.positions;
    }
  }
  if (report.positions == 0) fail("no position to compare the models at: the text is empty");
  const auto count = static_cast<double>(report.positions);
  report.argmax_agreement /= count;
  report.expected_acceptance /= count;
  report.target_perplexity = std::exp(report.target_perplexity / count);
  report.draft_perplexity = std::exp(report.draft_perplexity / count);
  return report;
}

std::vector<Passage> cut_passages(const std::filesystem::path& text, const tokenizers::Tokenizer& tokenizer, int count,
                                  int tokens) {
  const std::string content = io::read_file_bytes(text);
  const auto wanted = static_cast<std::size_t>(tokens);
  const auto first = tokenizer.bos();
  std::vector<Passage> passages;
  for (int i = 0; i < count; ++i) {
    const std::size_t begin = content.size() * static_cast<std::size_t>(i) / static_cast<std::size_t>(count);
    // No token of running text is longer on the average, so that a long file is not encoded to its end for each
    // passage.
    const Tokens ids = tokenizer.encode(unicode::lossy(std::string_view(content).substr(begin, wanted * 32)));
    if (ids.size() < wanted) continue;
    Passage passage;
    if (first) passage.tokens.push_back(*first);
    passage.tokens.insert(passage.tokens.end(), ids.begin(), ids.begin() + tokens);
    passages.push_back(std::move(passage));
  }
  if (passages.empty()) fail("{}: too short for one passage of {}", text.string(), counted(tokens, "token"));
  return passages;
}

double predicted_acceptance_length(double acceptance, int depth) {
  double length = 0, reached = 1;
  for (int i = 0; i <= depth; ++i, reached *= acceptance) length += reached;
  return length;
}

}  // namespace foretell::analysis
