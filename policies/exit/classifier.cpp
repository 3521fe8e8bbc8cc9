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

namespace foretell::policies::exit {
namespace {

struct ClassifierOptions {
  std::optional<std::string> probe;
  double threshold = 0.5;
  exits::ExitLayers layers;
  Location where = {};
  void declare(Parameters& p) {
    where = p.where();
    p.add("probe", probe,
          "a folder with exit_probe.safetensors, or such a file; random: untrained, for tests. Has no default");
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
    if (!options.probe)
      fail_at(options.where, "classifier: the key 'probe' is missing (a folder with exit_probe.safetensors)");
    if (*options.probe == "random") return;
    probes_ = placed_at(options.where, [&] { return exits::load_probes(context.file(*options.probe)); });
  }

  std::vector<int> layers(int num_layers) const override {
    std::vector<int> asked = exits::RowExit::layers(num_layers);
    if (!probes_ || probes_->shared) return asked;
    if (options_.layers.layers.empty())  // those that the file is about
      std::erase_if(asked, [&](int layer) { return !probes_->by_layer.contains(layer); });
    for (const int layer : asked)
      if (!probes_->by_layer.contains(layer))
        fail_at(options_.where, "classifier: {} has no probe behind layer {}", *options_.probe, layer);
    if (asked.empty()) fail_at(options_.where, "classifier: {} has no probe of a layer of this model", *options_.probe);
    return asked;
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
