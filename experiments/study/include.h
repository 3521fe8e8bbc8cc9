// `include`: a study built on others.
//
//   include: base.yaml            # or a list; the later file wins, the study's own keys win over all
//
// Contract: mappings are merged key by key; a mapping with another `type` replaces the included one as a whole, and so
// does every other value. Values keep the file and line that they were written in, so that messages name these. A path
// in `include` is looked for in the current folder first, then beside the file that names it; all other paths mean the
// same as if they stood in the study. An include that comes back to itself is an Error.
#pragma once

#include <filesystem>
#include <functional>

#include "framework/core/config_value.h"

namespace foretell::study {

// `prepare(document, folder)` is applied to every file before it is merged.
ConfigValue load_with_includes(const std::filesystem::path& file,
                               const std::function<void(ConfigValue&, const std::filesystem::path&)>& prepare);

// `over` on top of `base`.
ConfigValue merged(const ConfigValue& base, const ConfigValue& over);

}  // namespace foretell::study
