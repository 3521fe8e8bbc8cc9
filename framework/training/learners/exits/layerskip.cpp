// A model that can be left early, trained as LayerSkip does (Elhoushi et al. 2024, arXiv 2404.16710): layers are left
// out at random, the deeper the more often, and the one head that there is learns to read the states behind all of
// them. Which exits have a loss changes from step to step (the curriculum), because each costs a head.
//
// Settings of the paper: continued training of Llama 2 7B with dropout 0.1, early_exit_scale 0.2, rotation 8; from
// scratch with `warming: true` (24 layers: 0.1, 0.2, rotation 23); finetuning with early_exit_scale 1, gradual.
#include "framework/training/learners/exits/exit_model_learner.h"
#include "framework/training/learners/exits/layerskip_schedule.h"

namespace foretell::training::learners::exits {
namespace {

struct LayerSkipOptions {
  double dropout = 0.1, early_exit_scale = 0.2;
  bool warming = true;
  std::string curriculum = "rotational";
  int rotation = 4;
  ExitEvaluation evaluation;
  void declare(Parameters& p) {
    p.add("dropout", dropout, "how often a sequence skips the last layer; the first one never",
          {.min = 0.0, .max = 0.99});
    p.add("warming", warming, "dropout grows from 0 along the run, as for training from scratch");
    p.add("early_exit_scale", early_exit_scale, "what the losses behind lower layers count beside the last one's",
          {.min = 0.0, .max = 1e3});
    p.add("curriculum", curriculum, "which layers have a loss in a step",
          {.choices = {"rotational", "gradual", "all"}});
    p.add("rotation", rotation, "under rotational: one of so many layers has a loss", {.min = 1, .max = 4096});
    evaluation.declare(p);
  }
};

class LayerSkipLearner final : public ExitModelLearner {
 public:
  using Options = LayerSkipOptions;
  LayerSkipLearner(const Options& options, const BuildContext&)
      : ExitModelLearner(options.evaluation), options_(options) {}

 protected:
  std::vector<double> shares(const autograd::TrainBatch& batch) const override {
    return exit_shares(
        exit_scales(options_.early_exit_scale, num_layers()),
        enabled_exits(curriculum_of(options_.curriculum), options_.rotation, num_layers(), batch.step, batch.steps));
  }
  std::vector<double> dropout(const autograd::TrainBatch& batch) const override {
    return layer_dropout(options_.dropout, num_layers(), options_.warming, batch.step, batch.steps);
  }

 private:
  Options options_;
};

FORETELL_REGISTER(Learner, LayerSkipLearner, "layerskip",
                  {.summary = "a language model whose rows may leave early: layer dropout and early-exit loss",
                   .paper = {"Elhoushi et al.", 2024, "2404.16710"},
                   .also_known_as = {"LayerSkip"}});

}  // namespace
}  // namespace foretell::training::learners::exits
