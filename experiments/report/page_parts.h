// The page's template, style and script, which stand beside this file as page.html, page.css and page.js; the build
// copies them into the program.
#pragma once

namespace foretell::report {

extern const char* const kPageTemplate;
extern const char* const kPageStyle;
extern const char* const kPageScript;

}  // namespace foretell::report
