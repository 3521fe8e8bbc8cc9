#include "framework/core/registry.h"

namespace foretell {

std::vector<PendingStrategy>*& pending_strategies() {
  static std::vector<PendingStrategy>* pending = nullptr;
  return pending;
}

}  // namespace foretell
