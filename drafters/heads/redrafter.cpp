// ReDrafter (Zhang et al. 2024, arXiv 2403.09919): a recurrent head whose beams are a tree of drafts.
//
// Tokens are the head's most probable ones, and the beam is the tree policy `eagle2` where neither the drafter nor the
// pipeline names another: shared prefixes are scored once (the paper's dynamic tree attention). Its proposals are
// deterministic, so that any lossless verifier keeps the target's distribution.
//
// Deviations: of the beam's nodes the most probable ones are scored, not the paths of its last level alone. The
// released code accepts the longest of its beams by the rule of one drawn chain, which does not keep the distribution;
// it also cuts the head's logits to the 50 best, which chosen tokens do not see.
#include "framework/decoding/heads/head_options.h"
#include "framework/decoding/heads/path_source.h"
#include "framework/model/heads/redrafter_head.h"

namespace foretell::drafters::heads {
namespace {

struct RedrafterOptions : decoding::heads::HeadOptions {
  RedrafterOptions() { draft.method = "top_k"; }
  void declare(Parameters& p) { HeadOptions::declare(p, {}); }
};

class RedrafterDrafter final : public bases::LevelDrafter {
 public:
  using Options = RedrafterOptions;
  RedrafterDrafter(const Options& options, const BuildContext& context)
      : bases::LevelDrafter(
            decoding::heads::with_tree(options.draft, context,
                                       parse_yaml("{type: eagle2, top_k: 10, depth: 4, total_tokens: 40}", "default")),
            std::make_unique<decoding::heads::PathSource>(
                decoding::heads::head_of<model::heads::RedrafterHead>(options, context, "redrafter")),
            context) {}
};

FORETELL_REGISTER(Drafter, RedrafterDrafter, "redrafter",
                  {.summary = "a recurrent head on the target's last state, and a beam of its drafts",
                   .paper = {"Zhang et al.", 2024, "2403.09919"},
                   .also_known_as = {"Recurrent Drafter"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "dependent draft model",
                                .xia2024 = "self-drafting: auto-regression head"}});

}  // namespace
}  // namespace foretell::drafters::heads
