// A study's report as one page of HTML that needs nothing else: no network, no files beside it.
//
// Contract: the page shows texts of the study as text, whatever is in them. Its data stand in it as JSON in ASCII, in
// which no character can end the script element. Charts are drawn by Chart.js (Debian: libjs-chart.js), which is copied
// into the page when it is made; without it the page has tables and says so.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "experiments/report/study_folder.h"

namespace foretell::report {

// `chart_js`: the source of Chart.js, empty for a page without charts.
std::string report_page(const StudyFolder& study, const std::string& chart_js);

// What `file`, else FORETELL_CHART_JS names, else what Debian has installed; empty if there is none. A named file that
// cannot be used is an Error.
std::string chart_js_source(const std::optional<std::string>& file);

}  // namespace foretell::report
