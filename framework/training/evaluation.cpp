#include "framework/training/evaluation.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "framework/training/generation.h"
#include "framework/training/language_loss.h"

namespace foretell::training {
namespace {

constexpr int kTokensOver = 8;  // an answer may be told in a few more tokens than the tokenizer would take for it

class Shares {
 public:
  void add(const std::string& family, double value, double weight) {
    add_to(sums_[""], value, weight);
    if (!family.empty()) add_to(sums_[family], value, weight);
  }

  ByFamily means() const {
    ByFamily means;
    for (const auto& [family, sum] : sums_) means[family] = sum.second > 0 ? sum.first / sum.second : 0;
    return means;
  }

 private:
  using Sum = std::pair<double, double>;
  static void add_to(Sum& sum, double value, double weight) {
    sum.first += value;
    sum.second += weight;
  }

  std::map<std::string, Sum> sums_;
};

}  // namespace

HeldoutSet make_heldout_tasks(const TrainDataSettings& data, const TrainBatchSettings& batch, int each,
                              const ConversationWriter& writer) {
  HeldoutSet set;
  set.stop_tokens = writer.chat->stop_tokens(*writer.tokenizer);
  ConversationWriter answers_only = writer;
  answers_only.prompt_weight = 0;
  for (const std::string& family : data.families) {
    int taken = 0;
    for (std::uint64_t index = 0; taken < each && index < 100u * static_cast<unsigned>(each); ++index) {
      const datasets::TaskExample example =
          datasets::make_task(family, data.tasks, datasets::TaskSplit::Heldout, index);
      Sample sample = answers_only.write(example);
      if (static_cast<int>(sample.tokens.size()) > batch.length) continue;
      set.samples.push_back(std::move(sample));
      for (std::size_t turn = 0; turn < example.turns.size(); ++turn) {
        const std::string& expected = example.turns[turn].answer;
        const int length = static_cast<int>(writer.tokenizer->encode(expected).size());
        set.answers.push_back({family, writer.prompt(example, turn), expected, length + kTokensOver});
      }
      ++taken;
    }
  }
  return set;
}

ByFamily heldout_loss(const autograd::TrainableTransformer& model, std::span<const Sample> samples,
                      const TrainBatchSettings& batch) {
  const c10::NoGradGuard no_grad;
  Shares shares;
  std::vector<Sample> part;
  std::int64_t rows = 0;
  const auto evaluate = [&] {
    if (part.empty()) return;
    const std::string family = part.front().family;
    const autograd::TrainBatch rows_of_part = make_batch(part, model.device());
    const at::Tensor state = loss_states(model.forward(rows_of_part), rows_of_part);
    const at::Tensor sum =
        autograd::head_loss_training(state, model.head(), rows_of_part.targets, rows_of_part.weights);
    shares.add(family, sum.item<double>(), rows_of_part.normaliser);
    part.clear();
    rows = 0;
  };
  for (const Sample& sample : samples) {
    const auto own = static_cast<std::int64_t>(sample.tokens.size());
    if (!part.empty() && (part.front().family != sample.family || rows + own > batch.tokens())) evaluate();
    part.push_back(sample);
    rows += own;
  }
  evaluate();
  return shares.means();
}

std::vector<Request> heldout_requests(const HeldoutSet& heldout) {
  std::vector<Request> requests;
  for (const HeldoutAnswer& answer : heldout.answers) {
    Request request;
    request.id = requests.size();
    request.prompt = answer.prompt;
    request.max_new_tokens = answer.max_new_tokens;
    request.stop_tokens = heldout.stop_tokens;
    requests.push_back(std::move(request));
  }
  return requests;
}

ByFamily acceptance_length(const std::shared_ptr<const model::LanguageModel>& target,
                           const std::shared_ptr<const model::LanguageModel>& draft, int depth,
                           const HeldoutSet& heldout) {
  Shares shares;
  const std::vector<Generation> generations = generate_with(target, heldout_requests(heldout), DraftedBy{draft, depth});
  for (std::size_t i = 0; i < generations.size(); ++i)
    shares.add(heldout.answers[i].family, static_cast<double>(generations[i].tokens.size()),
               static_cast<double>(generations[i].rounds.size()));
  return shares.means();
}

ByFamily exact_match_share(const std::shared_ptr<const model::LanguageModel>& model, const HeldoutSet& heldout,
                           const std::shared_ptr<const tokenizers::Tokenizer>& tokenizer) {
  Shares shares;
  const std::vector<Generation> generations = generate_with(model, heldout_requests(heldout));
  for (std::size_t i = 0; i < generations.size(); ++i) {
    const HeldoutAnswer& answer = heldout.answers[i];
    const std::string text = answer_text(tokenizer, answer.prompt, generations[i]);
    shares.add(answer.family, datasets::exact_match(text, answer.expected) ? 1 : 0, 1);
  }
  return shares.means();
}

}  // namespace foretell::training
