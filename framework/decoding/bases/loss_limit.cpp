#include "framework/decoding/bases/loss_limit.h"

namespace foretell::bases {

void LossLimitOptions::declare(Parameters& p) {
  p.add("max_loss", max_loss, "share of plain decoding's time that speculation may lose at most, beside the head start",
        {.min = 0, .max = 1});
  p.add("head_start", head_start, "plain tokens' time that may be lost in addition, to find out at the start",
        {.min = 0, .max = 1e9});
}

}  // namespace foretell::bases
