// A model trained with a loss behind several layers at once: EE-LLM (Chen et al. 2023, arXiv 2312.04916) adds weighted
// losses of a few exits to the last layer's, CALM (Schuster et al. 2022, arXiv 2207.07061) takes a weighted mean over
// all layers. Exits share the model's norm and head.
#include <cmath>
#include <numeric>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/training/learners/exits/exit_model_learner.h"

namespace foretell::training::learners::exits {
namespace {

struct MultiExitOptions {
  std::vector<int> layers;
  std::vector<double> weights;
  std::string aggregation = "sum";
  int warmup_steps = 0;
  ExitEvaluation evaluation;
  Location where = {};
  void declare(Parameters& p) {
    where = p.where();
    p.add("layers", layers, "behind which layers there is a loss beside the last one's; none: behind all",
          {.min = 1, .max = 4096});
    p.add("weights", weights, "under sum: of each of these losses; none: 0.25 each", {.min = 0.0});
    p.add("aggregation", aggregation,
          "sum: the last layer's loss and the weighted ones (EE-LLM); the others: their mean, weighted by the layer's "
          "number, evenly, or by 2^layer (CALM)",
          {.choices = {"sum", "arithmetic", "uniform", "geometric"}});
    p.add("warmup_steps", warmup_steps, "steps in which the weights of the early exits grow from 0", {.min = 0});
    evaluation.declare(p);
  }
};

class MultiExitLearner final : public ExitModelLearner {
 public:
  using Options = MultiExitOptions;
  MultiExitLearner(const Options& options, const BuildContext&)
      : ExitModelLearner(options.evaluation), options_(options) {}

  void set_up(const LearnerInputs& inputs) override {
    ExitModelLearner::set_up(inputs);
    std::vector<int>& layers = options_.layers;
    if (layers.empty()) {
      layers.resize(static_cast<std::size_t>(num_layers()) - 1);
      std::iota(layers.begin(), layers.end(), 1);
    }
    for (std::size_t i = 0; i < layers.size(); ++i)
      if (layers[i] >= num_layers() || (i > 0 && layers[i] <= layers[i - 1]))
        fail_at(options_.where, "layers: expected increasing numbers from 1 to {}, the model has {}", num_layers() - 1,
                counted(num_layers(), "layer"));
    if (options_.weights.empty()) options_.weights.assign(layers.size(), 0.25);
    if (options_.weights.size() != layers.size())
      fail_at(options_.where, "weights: there are {} for {}", options_.weights.size(),
              counted(static_cast<int>(layers.size()), "layer"));
  }

 protected:
  std::vector<double> shares(const autograd::TrainBatch& batch) const override {
    std::vector<double> out(static_cast<std::size_t>(num_layers()), 0);
    const double warm = options_.warmup_steps > 0 ? std::min(1.0, (batch.step + 1.0) / options_.warmup_steps) : 1;
    for (std::size_t i = 0; i < options_.layers.size(); ++i)
      out[static_cast<std::size_t>(options_.layers[i]) - 1] = warm * weight(options_.layers[i], options_.weights[i]);
    out.back() = weight(num_layers(), 1);
    if (options_.aggregation == "sum") return out;
    const double sum = std::accumulate(out.begin(), out.end(), 0.0);
    for (double& share : out) share /= sum;
    return out;
  }

 private:
  double weight(int layer, double written) const {
    if (options_.aggregation == "arithmetic") return layer;
    if (options_.aggregation == "geometric") return std::exp2(layer - num_layers());
    return options_.aggregation == "uniform" ? 1 : written;
  }

  Options options_;
};

FORETELL_REGISTER(Learner, MultiExitLearner, "multi_exit",
                  {.summary = "a language model with a loss behind several layers",
                   .paper = {"Chen et al.", 2023, "2312.04916"},
                   .also_known_as = {"EE-LLM"}});

}  // namespace
}  // namespace foretell::training::learners::exits
