// EAGLE-3 (Li et al. 2025, arXiv 2503.01840): a decoder layer on states from several depths of the target, with an
// output of its own, that goes on from what it has said itself.
//
// Its training unrolls the steps of a draft, so nothing ties its rows to the target's states, and it may speak a
// reduced vocabulary: a draft's distribution is 0 on all other tokens, which costs acceptance and no correctness.
// Chains and trees; the paper's tree is the policy `eagle2` with `draft_sample_method: top_k`. Heads of EAGLE-3.1 are
// the same with other norms, which the head's config names.
#include "framework/decoding/heads/feature_source.h"
#include "framework/decoding/heads/head_options.h"
#include "framework/model/heads/eagle3_head.h"

namespace foretell::drafters::heads {
namespace {

struct Eagle3Options : decoding::heads::HeadOptions {
  void declare(Parameters& p) { HeadOptions::declare(p, {"ea_model"}); }
};

class Eagle3Drafter final : public bases::LevelDrafter {
 public:
  using Options = Eagle3Options;
  Eagle3Drafter(const Options& options, const BuildContext& context)
      : bases::LevelDrafter(options.draft,
                            std::make_unique<decoding::heads::FeatureSource>(
                                decoding::heads::head_of<model::heads::Eagle3Head>(options, context, "eagle3")),
                            context) {}
};

FORETELL_REGISTER(Drafter, Eagle3Drafter, "eagle3",
                  {.summary = "a decoder layer on states from several depths of the target, with its own output",
                   .paper = {"Li et al.", 2025, "2503.01840"},
                   .also_known_as = {"EAGLE-3", "EAGLE-3.1"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: auto-regression head"}});

}  // namespace
}  // namespace foretell::drafters::heads
