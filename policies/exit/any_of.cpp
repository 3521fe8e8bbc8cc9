// Several exit policies at once: a row leaves where one of several policies lets it.
//
// Each member is asked at its own layers and sees what it would see alone. Costs what the most demanding member costs.
#include "framework/exits/combined_exit.h"

namespace foretell::policies::exit {
namespace {

struct AnyOfOptions {
  ConfigValue policies = parse_yaml("[{type: margin}, {type: patience}]", "default");
  void declare(Parameters& p) {
    p.add("policies", policies, "a list of exit policies: [{type: margin, threshold: 0.8}, {type: patience}]");
  }
};

class AnyOfExit final : public exits::CombinedExit {
 public:
  using Options = AnyOfOptions;
  AnyOfExit(const Options& options, const BuildContext& context)
      : CombinedExit(options.policies, context, Leave::IfAny) {}
};

FORETELL_REGISTER(ExitPolicy, AnyOfExit, "any_of", {.summary = "a row leaves where one of several policies lets it"});

}  // namespace
}  // namespace foretell::policies::exit
