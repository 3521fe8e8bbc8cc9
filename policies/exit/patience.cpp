// A row leaves once the heads of enough layers in a row agree on the most probable token (PABEE, Zhou et al. 2020,
// arXiv 2006.04152).
//
// Costs the head over the vocabulary at every layer that is asked. The first of these has nothing to agree with. A
// patience of 0 is the full model, as in the released code.
#include <map>

#include "framework/api/build_context.h"
#include "framework/exits/confidence_exit.h"

namespace foretell::policies::exit {
namespace {

struct PatienceOptions {
  int patience = 2;
  exits::ExitLayers layers;
  void declare(Parameters& p) {
    p.add("patience", patience, "agreements one after the other that a row leaves after; 0: never",
          {.min = 0, .max = 4096});
    layers.declare(p);
  }
};

class PatienceExit final : public exits::RowExit {
 public:
  using Options = PatienceOptions;
  PatienceExit(const Options& options, const BuildContext&) : exits::RowExit(options.layers), options_(options) {}

  ExitWants wants() const override { return {.logits = true}; }

 private:
  struct Seen {
    Token top;
    int agreements;
  };

  bool row_leaves(const ExitProbe& probe, std::size_t index) override {
    if (probe.first && index == 0) rows_.clear();
    const Token top = exits::logit_statistics(probe.of(probe.logits, index)).top;
    const auto [at, is_new] = rows_.try_emplace(probe.rows[index].row, Seen{top, 0});
    if (!is_new) at->second = {top, at->second.top == top ? at->second.agreements + 1 : 0};
    return options_.patience > 0 && at->second.agreements >= options_.patience;
  }

  Options options_;
  std::map<int, Seen> rows_;  // of this forward pass
};

FORETELL_REGISTER(ExitPolicy, PatienceExit, "patience",
                  {.summary = "a row leaves once enough layers in a row agree on its token",
                   .paper = {"Zhou et al.", 2020, "2006.04152"},
                   .also_known_as = {"PABEE"}});

}  // namespace
}  // namespace foretell::policies::exit
