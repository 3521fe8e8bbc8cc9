// The tree of EAGLE-2 (Li et al. 2024, arXiv 2406.16858): the paths that the draft holds for most probable, in a shape
// that differs from draft to draft.
//
// framework/decoding/bases/beam_tree.h has the rule. The tree is reranked after it was drafted, which only chosen
// tokens allow: use draft_sample_method: top_k at temperatures above 0, as the paper's code does. Of drawn tokens
// nothing is left out; the budget then ends the tree on the way.
//
// Deviations: the released code drafts one level more than its `depth` says; here depth counts levels, so 8 is that
// code's 7. Equal probabilities are decided by the order of the nodes, so that no node is kept without its parent.
#include "framework/decoding/bases/beam_tree.h"

namespace foretell::policies::tree {
namespace {

class Eagle2Tree final : public bases::BeamTree {
 public:
  using Options = bases::BeamTreeOptions;
  Eagle2Tree(const Options& options, const BuildContext&) : bases::BeamTree(options) {}
};

FORETELL_REGISTER(
    TreePolicy, Eagle2Tree, "eagle2",
    {.summary = "the most probable paths of the draft: a beam that is expanded, then the best nodes of all",
     .paper = {"Li et al.", 2024, "2406.16858"},
     .also_known_as = {"EAGLE-2"},
     .taxonomy = {.focus = "draft-centric", .ryu2024 = "hybrid and adaptive"}});

}  // namespace
}  // namespace foretell::policies::tree
