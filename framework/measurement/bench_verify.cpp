#include "framework/measurement/bench_verify.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/api/verifier.h"
#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/core/registry_names.h"
#include "framework/core/stopwatch.h"
#include "framework/core/text.h"
#include "framework/decoding/warped_scores.h"
#include "framework/metrics/metrics.h"

namespace foretell::measurement {
namespace {

constexpr double kUnlikeness = 0.05;  // how far the draft's logits are from the target's, in nats
constexpr std::uint64_t kSeed = 1;

// Raw rows of logits, one a node.
class RowScores final : public decoding::WarpedScores {
 public:
  RowScores(const at::Tensor& rows, const DraftTree& draft, const Sampler& sampler)
      : decoding::WarpedScores(draft, sampler, {}),
        rows_(rows.const_data_ptr<float>()),
        vocab_(static_cast<int>(rows.size(1))) {}

 private:
  int vocab() const override { return vocab_; }
  std::span<const float> raw_row(NodeId node) override {
    return {rows_ + static_cast<std::int64_t>(node) * vocab_, static_cast<std::size_t>(vocab_)};
  }
  Token raw_argmax(NodeId node) override { return argmax_checked(raw_row(node)); }

  const float* rows_;
  int vocab_;
};

struct Drawing {
  DraftForm form;
  Draws kind;
};

// As drafters do it, in the order in which a verifier is offered them.
const std::vector<Drawing>& drawings() {
  static const std::vector<Drawing> all = {{{.tree = true, .without_replacement = true}, Draws::WithoutReplacement},
                                           {{.tree = true, .independent = true}, Draws::IndependentDraws},
                                           {{.tree = true, .point_mass = true}, Draws::PointMass}};
  return all;
}

// 4 children of the anchor, 2 of each of the next two levels, then chains, until all nodes are there. Row n of `rows`
// is what the target says at node n.
DraftTree make_tree(const at::Tensor& rows, int nodes, Draws kind) {
  const auto vocab = static_cast<int>(rows.size(1));
  DraftTree tree(0);
  PhiloxRng rng({.seed = kSeed});
  for (NodeId node = 0; node < tree.size() && tree.size() <= nodes; ++node) {
    const int width = tree.depth(node) == 0 ? 4 : tree.depth(node) <= 2 ? 2 : 1;
    const at::Tensor row = rows.select(0, node);
    std::vector<double> weights(static_cast<std::size_t>(vocab));
    const float* logits = row.const_data_ptr<float>();
    const float top = *std::max_element(logits, logits + vocab);
    for (int t = 0; t < vocab; ++t)
      weights[t] =
          std::exp(logits[t] - top + kUnlikeness * normal_at(kSeed, static_cast<std::uint64_t>(node) * vocab + t));
    std::optional<Distribution> q = Distribution::dense(std::move(weights));
    if (kind == Draws::PointMass) {
      for (const Token token : q->top(std::min(width, nodes - (tree.size() - 1)))) tree.choose(node, token, vocab);
      continue;
    }
    const DistributionId distribution = tree.add_distribution(*q, kind);
    for (int i = 0; i < width && q && tree.size() <= nodes; ++i) {
      const Token token = q->draw(rng);
      tree.propose(node, token, distribution);
      if (kind == Draws::WithoutReplacement) q = without(*q, token);
    }
  }
  return tree;
}

// The target with its cache filled up to the scored rows.
class ForwardBench {
 public:
  ForwardBench(const model::LanguageModel& model, int context, int rows)
      : model_(model),
        context_(context),
        tokens_(static_cast<std::size_t>(rows)),
        cache_(model.make_cache(context + rows)) {
    const Tokens before(static_cast<std::size_t>(context), 1);
    if (context > 0)
      model.forward(model::ForwardItem{before, model::ChainShape{}, cache_.get(), model::LogitRows::None});
    for (int i = 0; i < rows; ++i)
      tokens_[i] = static_cast<Token>(mix64(i) % static_cast<std::uint64_t>(model.config().vocab_size));
  }

  // [rows, vocab] on the host; a device is waited for.
  at::Tensor run() {
    at::Tensor logits =
        model_.forward(model::ForwardItem{tokens_, model::ChainShape{}, cache_.get(), model::LogitRows::All})
            .logits.to(at::kCPU)
            .contiguous();
    cache_->truncate(context_);
    return logits;
  }

 private:
  const model::LanguageModel& model_;
  int context_;
  Tokens tokens_;
  std::unique_ptr<model::KvCache> cache_;
};

// One verifier at one temperature.
struct Trial {
  BenchVerifyRow* row;
  std::optional<double> BenchVerifyRow::*result;
  const Verifier* verifier;
  const DraftTree* tree;
  SamplingOptions sampling;
  std::vector<double> ms = {};
};

double time_of(const Trial& trial, const at::Tensor& rows, int repeat) {
  const Sampler sampler(trial.sampling, static_cast<int>(rows.size(1)));
  PhiloxRng rng({.seed = kSeed, .request = static_cast<std::uint64_t>(repeat), .purpose = RngPurpose::Verify});
  const Stopwatch watch;
  RowScores scores(rows, *trial.tree, sampler);
  trial.verifier->verify(*trial.tree, scores, rng);
  return static_cast<double>(watch.elapsed_ns()) * 1e-6;
}

}  // namespace

BenchVerifyReport bench_verify(const model::LanguageModel& model, const BenchVerifyOptions& options) {
  const std::vector<std::string> names = names_of<Verifier>(options.verifier);
  const int room = model.config().context - options.context;
  if (options.nodes + 1 > room)
    fail("bench verify: {} after {} of context exceed the model's context of {}", counted(options.nodes, "node"),
         counted(options.context, "token"), model.config().context);
  ForwardBench forward(model, options.context, options.nodes + 1);
  const at::Tensor rows = forward.run();
  const DraftTree chosen = make_tree(rows, options.nodes, Draws::PointMass);
  std::vector<DraftTree> drawn;
  for (const Drawing& drawing : drawings()) drawn.push_back(make_tree(rows, options.nodes, drawing.kind));

  BenchVerifyReport report{.vocab = model.config().vocab_size, .depth = chosen.depth()};
  std::vector<std::unique_ptr<Verifier>> verifiers;
  std::vector<Trial> trials;
  report.rows.reserve(names.size());
  for (const std::string& name : names) {
    report.rows.push_back({name});
    verifiers.push_back(
        Registry<Verifier>::instance().make(ConfigValue::scalar(name), BuildContext{.vocab = report.vocab}));
    const SamplingOptions greedy{.temperature = 0.0}, sampled{.temperature = 1.0};
    if (!verifiers.back()->unsupported_reason(drawings().back().form, greedy))
      trials.push_back({&report.rows.back(), &BenchVerifyRow::greedy_ms, verifiers.back().get(), &chosen, greedy});
    for (std::size_t i = 0; i < drawn.size(); ++i) {
      if (verifiers.back()->unsupported_reason(drawings()[i].form, sampled)) continue;
      trials.push_back({&report.rows.back(), &BenchVerifyRow::sampled_ms, verifiers.back().get(), &drawn[i], sampled});
      break;
    }
  }
  std::vector<double> forwards;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    const Stopwatch watch;
    forward.run();
    forwards.push_back(static_cast<double>(watch.elapsed_ns()) * 1e-6);
    std::erase_if(trials, [&](Trial& trial) {
      try {
        trial.ms.push_back(time_of(trial, rows, repeat));
        return false;
      } catch (const Error& error) {  // a size that takes forever is refused when it is met
        trial.row->reason = error.what();
        return true;
      }
    });
  }
  report.forward_ms = *metrics::median(forwards);
  for (Trial& trial : trials) trial.row->*trial.result = metrics::median(trial.ms);
  return report;
}

}  // namespace foretell::measurement
