// What this build of Foretell is: for `foretell --version` and for the manifest of every run.
//
// Contract: all three are fixed when the library is built and never empty.
#pragma once

#include <string_view>

namespace foretell {

std::string_view version();  // "0.2.0"
std::string_view
git_revision();  // "1a2b3c4d5e6f", with "-dirty" if tracked files differed from that commit; "unknown" outside git
std::string_view compiler();  // "GCC 12.2.0, Release"

}  // namespace foretell
