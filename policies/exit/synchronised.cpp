// All rows of a batch leave together, once each of them would have left under another policy (CALM's batches, Schuster
// et al. 2022, arXiv 2207.07061: the least confidence of a batch decides).
//
// A row that would have left at a lower layer stays ready. A forward pass then has one depth, as devices that cannot
// gather rows want it; rows depend on their neighbours, so the text depends on the batch.
#include <algorithm>
#include <set>

#include "framework/api/build_context.h"
#include "framework/api/exit_policy.h"

namespace foretell::policies::exit {
namespace {

struct SynchronisedOptions {
  ConfigValue policy = parse_yaml("{type: margin}", "default");
  void declare(Parameters& p) { p.add("policy", policy, "whether a row would leave: {type: margin, threshold: 0.8}"); }
};

class SynchronisedExit final : public ExitPolicy {
 public:
  using Options = SynchronisedOptions;
  SynchronisedExit(const Options& options, const BuildContext& context)
      : policy_(Registry<ExitPolicy>::instance().make(options.policy, context)) {}

  std::vector<int> layers(int num_layers) const override { return policy_->layers(num_layers); }
  ExitWants wants() const override { return policy_->wants(); }
  void decide(const ExitProbe& probe, std::span<char> leaves) override {
    if (probe.first) ready_.clear();
    policy_->decide(probe, leaves);
    for (std::size_t i = 0; i < leaves.size(); ++i)
      if (leaves[i] != 0) ready_.insert(probe.rows[i].row);
    const bool all = std::all_of(probe.rows.begin(), probe.rows.end(),
                                 [&](const ExitRow& row) { return ready_.count(row.row) != 0; });
    std::fill(leaves.begin(), leaves.end(), all ? 1 : 0);
  }
  void observe(std::span<const ExitRecord> records) override { policy_->observe(records); }
  bool row_independent() const override { return false; }

 private:
  std::unique_ptr<ExitPolicy> policy_;
  std::set<int> ready_;  // rows of this forward pass that would have left
};

FORETELL_REGISTER(ExitPolicy, SynchronisedExit, "synchronised",
                  {.summary = "all rows of a batch leave together, once each would have left",
                   .paper = {"Schuster et al.", 2022, "2207.07061"}});

}  // namespace
}  // namespace foretell::policies::exit
