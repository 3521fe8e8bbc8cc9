// Every row leaves after the same layer: LayerSkip's early exit (Elhoushi et al. 2024, arXiv 2404.16710).
//
// Looks at nothing, so it costs nothing but the head where rows leave.
#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/api/exit_policy.h"
#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell::policies::exit {
namespace {

struct FixedLayerOptions {
  int layer = 0;
  Location where = {};
  void declare(Parameters& p) {
    p.add("layer", layer, "after how many layers rows leave",
          {.min = 1, .max = 4096, .aliases = {"exit_layer"}, .required = true});
    where = p.where();
  }
};

class FixedLayerExit final : public ExitPolicy {
 public:
  using Options = FixedLayerOptions;
  FixedLayerExit(const Options& options, const BuildContext&) : options_(options) {}

  std::vector<int> layers(int num_layers) const override {
    if (options_.layer >= num_layers)
      fail_at(options_.where, "layer {}: the model has {}, expected 1 to {}", options_.layer,
              counted(num_layers, "layer"), num_layers - 1);
    return {options_.layer};
  }
  ExitWants wants() const override { return {}; }
  void decide(const ExitProbe&, std::span<char> leaves) override { std::fill(leaves.begin(), leaves.end(), 1); }

 private:
  Options options_;
};

FORETELL_REGISTER(ExitPolicy, FixedLayerExit, "fixed_layer",
                  {.summary = "every row leaves after the same layer",
                   .paper = {"Elhoushi et al.", 2024, "2404.16710"},
                   .also_known_as = {"LayerSkip"}});

}  // namespace
}  // namespace foretell::policies::exit
