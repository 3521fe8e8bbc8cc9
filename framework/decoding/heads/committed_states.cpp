#include "framework/decoding/heads/committed_states.h"

namespace foretell::decoding::heads {

std::vector<std::int64_t> committed_nodes(const RoundView& round) {
  if (round.emitted == 0) return {};
  std::vector<std::int64_t> nodes{kAnchor};
  for (int i = 0; i + 1 < round.emitted; ++i) nodes.push_back(round.verdict.accepted[static_cast<std::size_t>(i)]);
  return nodes;
}

}  // namespace foretell::decoding::heads
