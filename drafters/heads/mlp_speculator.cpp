// The MLP speculator (Wertheimer et al. 2024, arXiv 2404.19124): a state that starts as the target's last one and takes
// in the chosen tokens, one small matrix a step.
//
// Its embeddings and outputs are its own, so most of its weights, and of its time, are the outputs'. Chains as in vLLM,
// or any tree policy.
//
// Deviation: the released code keeps the best of a product tree of candidates, as sequences; here a tree policy says
// which nodes there are, and shared prefixes are scored once.
#include "framework/model/heads/mlp_speculator.h"
#include "framework/decoding/heads/head_options.h"
#include "framework/decoding/heads/path_source.h"

namespace foretell::drafters::heads {
namespace {

using model::heads::MlpSpeculator;

struct MlpSpeculatorOptions : decoding::heads::HeadOptions {
  int steps = 4;
  void declare(Parameters& p) {
    HeadOptions::declare(p, {});
    p.add("n_predict", steps, "steps of a random head", {.min = 1, .max = 64});
  }
};

class MlpSpeculatorDrafter final : public bases::LevelDrafter {
 public:
  using Options = MlpSpeculatorOptions;
  MlpSpeculatorDrafter(const Options& options, const BuildContext& context)
      : bases::LevelDrafter(options.draft, std::make_unique<decoding::heads::PathSource>(head_of(options, context)),
                            context) {}

 private:
  static std::shared_ptr<const MlpSpeculator> head_of(const Options& options, const BuildContext& context) {
    return decoding::heads::head_of<MlpSpeculator>(
        options, context, "mlp_speculator",
        [&](std::uint64_t seed, const auto& target) { return MlpSpeculator::random(options.steps, seed, target); });
  }
};

FORETELL_REGISTER(Drafter, MlpSpeculatorDrafter, "mlp_speculator",
                  {.summary = "a small recurrent state on the target's last one, with an output for each step",
                   .paper = {"Wertheimer et al.", 2024, "2404.19124"},
                   .also_known_as = {"MLPSpeculator"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: FFN heads"}});

}  // namespace
}  // namespace foretell::drafters::heads
