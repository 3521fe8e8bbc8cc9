#include "framework/training/evaluation.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>

#include <algorithm>

#include "framework/metrics/metrics.h"
#include "framework/training/generation.h"

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

namespace {

// Parts of one family each, as full as a batch is.
void each_part(std::span<const Sample> samples, const TrainBatchSettings& batch,
               const std::function<void(const std::vector<Sample>&)>& visit) {
  std::vector<Sample> part;
  std::int64_t rows = 0;
  const auto flush = [&] {
    if (!part.empty()) visit(part);
    part.clear();
    rows = 0;
  };
  for (const Sample& sample : samples) {
    const auto own = static_cast<std::int64_t>(sample.tokens.size());
    if (!part.empty() && (part.front().family != sample.family || rows + own > batch.tokens())) flush();
    part.push_back(sample);
    rows += own;
  }
  flush();
}

autograd::TrainBatch prepared(const std::vector<Sample>& part, at::Device device, const Prepare& prepare) {
  autograd::TrainBatch batch = make_batch(part, device);
  if (prepare) prepare(batch);
  return batch;
}

}  // namespace

ByFamily heldout_loss(const Learner& learner, std::span<const Sample> samples, const TrainBatchSettings& batch,
                      at::Device device, const Prepare& prepare) {
  Shares shares;
  each_part(samples, batch, [&](const std::vector<Sample>& part) {
    const autograd::TrainBatch rows = prepared(part, device, prepare);
    shares.add(part.front().family, learner.heldout_loss(rows), rows.normaliser);
  });
  return shares.means();
}

std::vector<double> heldout_exit_losses(const Learner& learner, std::span<const Sample> samples,
                                        const TrainBatchSettings& batch, at::Device device, const Prepare& prepare) {
  std::vector<double> sums(learner.exits().size(), 0);
  double weight = 0;
  each_part(samples, batch, [&](const std::vector<Sample>& part) {
    const autograd::TrainBatch rows = prepared(part, device, prepare);
    const std::vector<double> losses = learner.exit_losses(rows);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += losses[i];
    weight += rows.normaliser;
  });
  for (double& sum : sums) sum = weight > 0 ? sum / weight : 0;
  return sums;
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

HeldoutAcceptance heldout_acceptance(const std::shared_ptr<const model::LanguageModel>& target,
                                     const DraftedBy& drafted_by, const HeldoutSet& heldout) {
  Shares shares;
  std::vector<RoundRecord> rounds;
  const std::vector<Generation> generations = generate_with(target, heldout_requests(heldout), drafted_by);
  for (std::size_t i = 0; i < generations.size(); ++i) {
    shares.add(heldout.answers[i].family, static_cast<double>(generations[i].tokens.size()),
               static_cast<double>(generations[i].rounds.size()));
    rounds.insert(rounds.end(), generations[i].rounds.begin(), generations[i].rounds.end());
  }
  return {shares.means(), metrics::conditional_acceptance_per_position(rounds)};
}

std::vector<Sample> answered_samples(const std::shared_ptr<const model::LanguageModel>& target,
                                     const HeldoutSet& heldout, int length) {
  std::vector<Sample> samples;
  const std::vector<Generation> generations = generate_with(target, heldout_requests(heldout));
  for (std::size_t i = 0; i < generations.size(); ++i) {
    const HeldoutAnswer& answer = heldout.answers[i];
    Sample sample{answer.family, answer.prompt, std::vector<float>(answer.prompt.size(), 0)};
    sample.tokens.insert(sample.tokens.end(), generations[i].tokens.begin(), generations[i].tokens.end());
    sample.weights.resize(sample.tokens.size(), 1);
    if (static_cast<int>(sample.tokens.size()) <= length) samples.push_back(std::move(sample));
  }
  return samples;
}

std::vector<double> teacher_forced_acceptance(const Learner& learner, std::span<const Sample> samples, int depth,
                                              const TrainBatchSettings& batch, at::Device device,
                                              const Prepare& prepare) {
  std::vector<double> accepted(static_cast<std::size_t>(depth), 0), decided = accepted;
  each_part(samples, batch, [&](const std::vector<Sample>& part) {
    const at::Tensor hits = learner.draft_hits(prepared(part, device, prepare), depth);
    if (!hits.defined()) return;
    at::Tensor before = at::ones({hits.size(1)}, at::kBool);
    for (std::int64_t i = 0; i < std::min<std::int64_t>(depth, hits.size(0)); ++i) {
      const at::Tensor known = before.logical_and(hits[i].ge(0));
      before = known.logical_and(hits[i].eq(1));
      decided[static_cast<std::size_t>(i)] += known.sum().item<double>();
      accepted[static_cast<std::size_t>(i)] += before.sum().item<double>();
    }
  });
  std::vector<double> out;
  for (std::size_t i = 0; i < accepted.size() && decided[i] > 0; ++i) out.push_back(accepted[i] / decided[i]);
  return out;
}

double length_of(std::span<const double> by_position) {
  double length = 1, reached = 1;
  for (const double acceptance : by_position) length += reached *= acceptance;
  return length;
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
