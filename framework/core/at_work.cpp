#include "framework/core/at_work.h"

#include <fmt/format.h>

namespace foretell {

const AtWork*& AtWork::current() {
  thread_local const AtWork* now = nullptr;
  return now;
}

std::string AtWork::where() {
  constexpr std::size_t kMostNamed = 4;
  if (!current()) return "";
  const std::vector<Sequence>& all = current()->sequences_;
  std::string out;
  for (std::size_t i = 0; i < all.size() && i < kMostNamed; ++i) {
    out += i == 0 ? " at " : ", ";
    out += all[i].step == kPrefill ? "the prefill" : fmt::format("step {}", all[i].step);
    if (!all[i].prompt.empty()) out += fmt::format(" of prompt {}", all[i].prompt);
  }
  if (all.size() > kMostNamed) out += fmt::format(" and {} more", all.size() - kMostNamed);
  return out;
}

}  // namespace foretell
