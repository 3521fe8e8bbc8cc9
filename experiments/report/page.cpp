#include "experiments/report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>

#include "experiments/report/page_parts.h"
#include "experiments/report/report_files.h"
#include "experiments/util/console.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/io/file_bytes.h"

namespace foretell::report {
namespace {

constexpr std::array kChartJsPlaces = {
    "/usr/share/javascript/chart.js/chart.min.js", "/usr/share/javascript/chart.js/Chart.min.js",
    "/usr/share/nodejs/chart.js/dist/chart.min.js", "/usr/share/nodejs/chart.js/dist/chart.umd.js"};

// JSON that can stand in a script element: none of its characters means anything to HTML.
std::string script_json(const nlohmann::ordered_json& json) {
  std::string out;
  for (const char c : json.dump(-1, ' ', true)) {
    if (c == '<' || c == '>' || c == '&')
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    else
      out += c;
  }
  return out;
}

std::string html_text(const std::string& text) {
  static const std::map<char, std::string> entities = {
      {'<', "&lt;"}, {'>', "&gt;"}, {'&', "&amp;"}, {'"', "&quot;"}, {'\'', "&#39;"}};
  std::string out;
  for (const char c : printable(text)) out += entities.count(c) ? entities.at(c) : std::string(1, c);
  return out;
}

// Each {{name}} of the template replaced once; what is put in is not looked at again.
std::string filled(const std::string& text, const std::map<std::string, std::string>& parts) {
  std::string out;
  std::size_t at = 0;
  for (std::size_t open; (open = text.find("{{", at)) != std::string::npos;) {
    const std::size_t close = text.find("}}", open);
    FORETELL_CHECK(close != std::string::npos, "the page's template has an open {{");
    out += text.substr(at, open - at) + parts.at(text.substr(open + 2, close - open - 2));
    at = close + 2;
  }
  return out + text.substr(at);
}

// Whether a script can be put between <script> and </script> as it is.
bool can_be_inlined(std::string source) {
  std::transform(source.begin(), source.end(), source.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return source.find("</script") == std::string::npos && source.find("<!--") == std::string::npos;
}

}  // namespace

std::string report_page(const StudyFolder& study, const std::string& chart_js) {
  return filled(kPageTemplate, {{"title", html_text(study.study)},
                                {"style", kPageStyle},
                                {"data", script_json(report_json(study))},
                                {"charts", chart_js},
                                {"script", kPageScript}});
}

std::string chart_js_source(const std::optional<std::string>& file) {
  const char* named = file ? file->c_str() : std::getenv("FORETELL_CHART_JS");
  std::string path = named ? named : "";
  if (path.empty())
    for (const char* place : kChartJsPlaces)
      if (path.empty() && std::filesystem::exists(place)) path = place;
  if (path.empty()) return "";
  std::string source = io::read_file_bytes(path);
  if (source.find("Chart") == std::string::npos || !can_be_inlined(source))
    fail("{}: is no Chart.js that can be put into a page", path);
  return source;
}

}  // namespace foretell::report
