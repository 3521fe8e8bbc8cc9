// Whether a router keeps its word that a row's experts depend on that row alone, which every verifier counts on.
//
// Contract: route() is called with the same rows alone, in a batch of three sequences and in draft trees, and has to
// say the same of each; then a small random mixture of experts decodes under it, alone and in a batch of three, drafted
// and not, and has to say the same tokens. A router that says that its rows depend on one another is lossy if that
// shows.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "experiments/certify/rule_rows.h"
#include "framework/api/router.h"

namespace foretell::certify {

struct RouterRow : RuleRow {
  int rows = 0;  // that were routed alone and with others
};

// A name, "all", or a description ("{type: top_k, k: 1}"). An Error for a name that nobody registered.
std::vector<RouterRow> certify_routers(const std::string& router);

// `make` builds it for a model with such experts.
RouterRow certify_router(const std::string& name,
                         const std::function<std::shared_ptr<const Router>(const BuildContext&)>& make);

}  // namespace foretell::certify
