#include "framework/model/heads/state_places.h"

#include "framework/core/error.h"

namespace foretell::model::heads {

int state_place(std::int64_t number, int num_layers, const std::string& name) {
  const std::int64_t at = number < 0 ? num_layers + 1 + number : number;
  if (at < 0 || at > num_layers)
    fail("{}: reads hidden state {}, the target has {} to {}", name, number, -num_layers - 1, num_layers);
  return at == num_layers ? kFinalState : static_cast<int>(at);
}

at::TensorOptions target_options(const LanguageModel& target) { return target.parts()->embed(Tokens{0}).options(); }

}  // namespace foretell::model::heads
