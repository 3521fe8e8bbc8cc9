#include "framework/api/attention_policy.h"
#include "framework/api/drafter.h"
#include "framework/api/exit_policy.h"
#include "framework/api/policy.h"
#include "framework/api/router.h"
#include "framework/api/verifier.h"

namespace foretell {

// The one instance of each registry: in libforetell, where the executable and every plug-in find it.
#define FORETELL_DEFINE_REGISTRY(Interface, name)        \
  template <>                                            \
  Registry<Interface>& Registry<Interface>::instance() { \
    static Registry<Interface> registry;                 \
    return registry;                                     \
  }                                                      \
  template <>                                            \
  const char* Registry<Interface>::kind() {              \
    return name;                                         \
  }

FORETELL_DEFINE_REGISTRY(Drafter, "drafter")
FORETELL_DEFINE_REGISTRY(Verifier, "verifier")
FORETELL_DEFINE_REGISTRY(DraftPolicy, "policy")
FORETELL_DEFINE_REGISTRY(TreePolicy, "tree")
FORETELL_DEFINE_REGISTRY(AttentionPolicy, "sparse attention")
FORETELL_DEFINE_REGISTRY(Router, "router")
FORETELL_DEFINE_REGISTRY(ExitPolicy, "exit policy")

}  // namespace foretell
