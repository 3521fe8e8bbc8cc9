// The four Unicode normal forms, in time that grows with n log n even on text that is one long run of combining marks.
#pragma once

#include <string>
#include <string_view>

namespace foretell::unicode {

struct NormalForm {
  bool compatibility = false;  // K: ligatures, widths and the like lose their form
  bool compose = false;        // C, not D
};

std::string normalize(std::string_view valid, NormalForm form);
char32_t to_lower_simple(char32_t code);

}  // namespace foretell::unicode
