// Several exit policies at once: a row leaves where every one of several policies lets it.
//
// Each member is asked at its own layers and sees what it would see alone; at a layer that one of them does not name no
// row leaves. Costs what the most demanding member costs.
#include "framework/exits/combined_exit.h"

namespace foretell::policies::exit {
namespace {

struct AllOfOptions {
  ConfigValue policies = parse_yaml("[{type: margin}, {type: patience}]", "default");
  void declare(Parameters& p) {
    p.add("policies", policies, "a list of exit policies: [{type: margin, threshold: 0.8}, {type: patience}]");
  }
};

class AllOfExit final : public ExitPolicy {
 public:
  using Options = AllOfOptions;
  AllOfExit(const Options& options, const BuildContext& context)
      : members_(options.policies, context, exits::CombinedExit::Leave::IfAll) {}

  std::vector<int> layers(int num_layers) const override { return members_.layers(num_layers); }
  ExitWants wants() const override { return members_.wants(); }
  void decide(const ExitProbe& probe, std::span<char> leaves) override { members_.decide(probe, leaves); }
  void observe(std::span<const ExitRecord> records) override { members_.observe(records); }
  bool row_independent() const override { return members_.row_independent(); }

 private:
  exits::CombinedExit members_;
};

FORETELL_REGISTER(ExitPolicy, AllOfExit, "all_of",
                  {.summary = "a row leaves where every one of several policies lets it"});

}  // namespace
}  // namespace foretell::policies::exit
