// Drafting with mask tokens: a LevelDrafter whose source is a MaskSource, with what such drafters share.
#pragma once

#include <optional>
#include <string>

#include "framework/api/build_context.h"
#include "framework/decoding/bases/level_drafter.h"
#include "framework/decoding/heads/mask_source.h"

namespace foretell::decoding::heads {

struct MaskDrafterOptions {
  std::string head;
  std::optional<int> mask_token = {};
  std::int64_t seed = 0;
  bases::ModelDraftOptions draft = {};
  Location where = {};
  void declare(Parameters& p);
};

class MaskDrafter : public bases::LevelDrafter {
 public:
  // `second`: PARD-2, whose folder has a projection; the other has none. An Error for a folder of the other kind.
  MaskDrafter(const MaskDrafterOptions& options, const BuildContext& context, bool second);
};

}  // namespace foretell::decoding::heads
