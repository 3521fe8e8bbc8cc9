// A row leaves where a trained probe of its hidden state says that its token will not change (the classifier of CALM,
// Schuster et al. 2022, arXiv 2207.07061, section 3.5). `foretell train` with the learner `exit_classifier` writes one.
//
// Needs no head but that of the layer where a row leaves. A threshold of 1 is never reached: the full model.
#include <algorithm>
#include <cmath>

#include "framework/api/build_context.h"
#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/exits/confidence_exit.h"
#include "framework/exits/probe_file.h"
#include "framework/exits/trained_part.h"

namespace foretell::policies::exit {
namespace {

struct ClassifierOptions {
  exits::TrainedPart probe{"classifier", "probe", "exit_probe.safetensors"};
  double threshold = 0.5;
  exits::ExitLayers layers;
  void declare(Parameters& p) {
    probe.declare(p);
    p.add("threshold", threshold, "the probability of no change that a row leaves at; 1: never",
          {.min = 0, .max = 1, .aliases = {"lambda"}});
    layers.declare(p);
  }
};

class ClassifierExit final : public exits::RowExit, public exits::ReadsStates {
 public:
  using Options = ClassifierOptions;
  ClassifierExit(const Options& options, const BuildContext& context)
      : exits::RowExit(options.layers), options_(options) {
    options.probe.require();
    if (!options.probe.random()) probes_ = options.probe.load(context, exits::load_probes);
  }

  std::vector<int> layers(int num_layers) const override {
    return options_.probe.layers(options_.layers, num_layers, [&](int layer) {
      return !probes_ || probes_->shared || probes_->by_layer.contains(layer);
    });
  }
  ExitWants wants() const override { return {.states = true}; }
  int state_width() const override { return probes_ ? probes_->width() : 0; }

 private:
  bool row_leaves(const ExitProbe& probe, std::size_t index) override {
    const std::span<const float> state = probe.of(probe.states, index);
    double square = 0;
    for (const float value : state) square += static_cast<double>(value) * value;
    const double scale = 1 / std::sqrt(square / static_cast<double>(std::max<std::size_t>(state.size(), 1)) + 1e-12);
    std::vector<float> input;
    input.reserve(state.size());
    for (const float value : state) input.push_back(static_cast<float>(value * scale));
    const double logit = at(probe.layer, state.size())(input);
    return options_.threshold < 1 && 1 / (1 + std::exp(-logit)) >= options_.threshold;
  }

  const exits::LinearProbe& at(int layer, std::size_t width) {
    if (!probes_) probes_ = random_probe(width);
    const exits::LinearProbe& probe = probes_->shared ? *probes_->shared : probes_->by_layer.at(layer);
    FORETELL_CHECK(probe.weight.size() == width, "a probe of {} on states of {}", probe.weight.size(), width);
    return probe;
  }

  static exits::ProbeFile random_probe(std::size_t width) {
    exits::LinearProbe probe;
    const float deviation = 2 / std::sqrt(static_cast<float>(width));
    for (std::size_t i = 0; i < width; ++i) probe.weight.push_back(deviation * normal_at(17, i));
    return {.shared = std::move(probe), .by_layer = {}};
  }

  Options options_;
  std::optional<exits::ProbeFile> probes_;  // none: random, once the width is known
};

FORETELL_REGISTER(ExitPolicy, ClassifierExit, "classifier",
                  {.summary = "a row leaves where a trained probe says that its token will not change",
                   .paper = {"Schuster et al.", 2022, "2207.07061"},
                   .also_known_as = {"CALM's classifier"}});

}  // namespace
}  // namespace foretell::policies::exit
