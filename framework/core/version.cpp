#include "framework/core/version.h"

#include "foretell_git_revision.h"

namespace foretell {

std::string_view version() { return FORETELL_VERSION; }
std::string_view git_revision() { return FORETELL_GIT_REVISION; }
std::string_view compiler() { return FORETELL_COMPILER; }

}  // namespace foretell
