// A row leaves where a small predictor says so of a few candidate tokens; behind all layers but the first that is asked
// only their logits are computed (SpecEE, Xu et al. 2025, arXiv 2504.08850). `foretell train` with the learner
// `exit_predictor` writes the predictors.
//
// Features of k candidates: their logits z, p = softmax(z), and the change of p since the layer asked before (at the
// first layer p itself). Deviations: the paper's candidates come from an EAGLE head, here they are the head's own top
// tokens at the first layer that is asked, where it costs the whole vocabulary once. The paper computes the whole head
// where the predictor fires and goes on if its token is no candidate; here the row leaves with that token. Of layers
// the ones that the file is about are asked, or `layers` among these; the paper also asks around the layers of the
// newest tokens.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "framework/api/build_context.h"
#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/exits/confidence_exit.h"
#include "framework/exits/probe_file.h"
#include "framework/exits/trained_part.h"

namespace foretell::policies::exit {
namespace {

struct SpecEeOptions {
  exits::TrainedPart predictor{"specee", "predictor", "exit_predictor.safetensors"};
  double threshold = 0.5;
  exits::ExitLayers layers;
  void declare(Parameters& p) {
    predictor.declare(p);
    p.add("threshold", threshold, "what the predictor has to say for a row to leave; 1: never", {.min = 0, .max = 1});
    layers.declare(p);
  }
};

class SpecEeExit final : public ExitPolicy {
 public:
  using Options = SpecEeOptions;
  SpecEeExit(const Options& options, const BuildContext& context) : options_(options) {
    options.predictor.require();
    random_ = options.predictor.random();
    if (random_)
      predictors_.emplace(0, random_predictor());
    else
      predictors_ = options.predictor.load(context, exits::load_predictors);
    candidates_ = predictors_.begin()->second.features / 3;
  }

  std::vector<int> layers(int num_layers) const override {
    return options_.predictor.layers(options_.layers, num_layers,
                                     [&](int layer) { return random_ || predictors_.contains(layer); });
  }

  // The whole vocabulary until there are candidates: at the first layer of a forward pass.
  ExitWants wants() const override {
    if (rows_.empty()) return {.logits = true};
    return {.tokens = shown_};
  }

  void decide(const ExitProbe& probe, std::span<char> leaves) override {
    if (probe.first) start(probe);
    const bool whole = probe.first || probe.of(probe.logits, 0).size() != shown_.size();
    for (std::size_t i = 0; i < probe.rows.size(); ++i) {
      Row& row = rows_.at(probe.rows[i].row);
      const std::span<const float> logits = probe.of(probe.logits, i);
      std::vector<double> z;
      for (const Token token : row.tokens) {
        const auto column = whole ? token : std::lower_bound(shown_.begin(), shown_.end(), token) - shown_.begin();
        z.push_back(logits[static_cast<std::size_t>(column)]);
      }
      const exits::Predictor& said = random_ ? predictors_.at(0) : predictors_.at(probe.layer);
      const double logit = said(features(std::move(z), row.p));
      leaves[i] = options_.threshold < 1 && 1 / (1 + std::exp(-logit)) >= options_.threshold ? 1 : 0;
    }
  }
  void observe(std::span<const ExitRecord>) override { rows_.clear(); }  // the forward pass has ended

 private:
  struct Row {
    std::vector<Token> tokens = {};
    std::vector<double> p = {};  // at the layer asked before
  };

  void start(const ExitProbe& probe) {
    rows_.clear();
    std::set<Token> all;
    for (std::size_t i = 0; i < probe.rows.size(); ++i) {
      const std::span<const float> logits = probe.of(probe.logits, i);
      std::vector<Token> order(logits.size());
      std::iota(order.begin(), order.end(), 0);
      const auto most = std::min<std::size_t>(static_cast<std::size_t>(candidates_), order.size());
      std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(),
                        [&](Token a, Token b) {
                          const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
                          return x != y ? x > y : a < b;
                        });
      order.resize(most);
      all.insert(order.begin(), order.end());
      rows_[probe.rows[i].row].tokens = std::move(order);
    }
    shown_.assign(all.begin(), all.end());
  }

  // [z, p, change of p], as wide as the predictor; `before` becomes p.
  std::vector<double> features(std::vector<double> z, std::vector<double>& before) const {
    const double peak = *std::max_element(z.begin(), z.end());
    std::vector<double> p;
    double sum = 0;
    for (const double value : z) sum += p.emplace_back(std::exp(value - peak));
    for (double& value : p) value /= sum;
    std::vector<double> change = p;
    for (std::size_t i = 0; i < before.size(); ++i) change[i] -= before[i];
    before = p;
    std::vector<double> out;
    for (std::vector<double>* part : {&z, &p, &change}) {
      part->resize(static_cast<std::size_t>(candidates_), 0);  // a vocabulary smaller than that
      out.insert(out.end(), part->begin(), part->end());
    }
    return out;
  }

  static exits::Predictor random_predictor() {
    exits::Predictor made{.features = 12, .inner = 8};
    for (std::uint64_t i = 0; i < 96; ++i) made.up.push_back(0.3F * normal_at(23, i));
    made.up_bias.assign(8, 0);
    for (std::uint64_t i = 0; i < 8; ++i) made.down.push_back(normal_at(24, i));
    return made;
  }

  Options options_;
  bool random_ = false;
  exits::PredictorFile predictors_;  // random: of all layers, under 0
  int candidates_ = 0;
  std::map<int, Row> rows_;   // of this forward pass
  std::vector<Token> shown_;  // the candidates of all rows, increasing
};

FORETELL_REGISTER(ExitPolicy, SpecEeExit, "specee",
                  {.summary = "a row leaves where a predictor says so of a few candidate tokens",
                   .paper = {"Xu et al.", 2025, "2504.08850"},
                   .also_known_as = {"SpecEE"}});

}  // namespace
}  // namespace foretell::policies::exit
