#include "experiments/report/roofline_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "framework/core/error.h"
#include "framework/core/printable.h"

namespace foretell::report {
namespace {

// Within quotes of a script: what was written by others loses its quotes and backslashes.
std::string quoted_text(const std::string& text) {
  std::string out;
  for (const char c : printable(text)) out += c == '\'' || c == '"' || c == '\\' ? ' ' : c;
  return out;
}

// Bounds closer than this cannot be told apart in the picture.
constexpr double kNear = 0.08;  // in powers of ten

bool near(const RooflinePoint& a, const RooflinePoint& b) {
  return std::abs(std::log10(a.intensity / b.intensity)) < kNear && std::abs(std::log10(a.bound / b.bound)) < kNear;
}

// The names of the points, each beside the first of those that are near it; empty for the others.
std::vector<std::string> labels_of(const std::vector<RooflinePoint>& points) {
  constexpr int kNames = 3;  // a longer label leaves the picture
  std::vector<std::string> labels(points.size());
  std::vector<int> counts(points.size());
  for (const RooflinePoint& point : points) {
    std::size_t first = 0;
    while (!near(points[first], point)) ++first;
    if (++counts[first] <= kNames) labels[first] += (counts[first] > 1 ? ", " : "") + point.name;
  }
  for (std::size_t i = 0; i < points.size(); ++i)
    if (counts[i] > kNames) labels[i] += fmt::format(" and {} more", counts[i] - kNames);
  return labels;
}

double power_below(double value) { return std::pow(10, std::floor(std::log10(value))); }
double power_above(double value) { return std::pow(10, std::ceil(std::log10(value))); }

}  // namespace

PlotFiles roofline_files(const RooflineChart& chart, const std::string& terminal) {
  const double bandwidth = chart.bandwidth, peak = chart.hardware.peak_of(chart.bits);
  const double ridge = peak / bandwidth;
  double left = ridge, right = ridge, bottom = peak;
  std::string data;
  std::vector<RooflinePoint> points = chart.points;
  std::erase_if(points, [](const RooflinePoint& point) { return point.intensity <= 0 || point.bound <= 0; });
  const std::vector<std::string> labels = labels_of(points);
  for (std::size_t i = 0; i < points.size(); ++i) {
    const RooflinePoint& point = points[i];
    left = std::min(left, point.intensity);
    right = std::max(right, point.intensity);
    bottom = std::min({bottom, point.bound, point.measured.value_or(point.bound)});
    data += fmt::format("{}\t{}\t{}\t{}\n", point.intensity, point.bound,
                        point.measured ? fmt::format("{}", *point.measured) : "NaN", quoted_text(labels[i]));
  }
  if (data.empty()) fail("a roofline chart: no operator computes anything");
  const double first = power_below(left) / 10, last = power_above(right) * 10;
  std::string script = plot_head(terminal, 620);
  script += fmt::format(
      "set logscale xy\nset format x '1e%L'\nset format y '1e%L'\n"
      "set xlabel 'arithmetic intensity, operations / byte'\nset ylabel 'operations / s'\n"
      "set title '{}'\nset key top left noenhanced\nset samples 2000\nset grid lc rgb '#d8dde2'\nset border "
      "3\n"
      "set xtics nomirror\nset ytics nomirror\nset xrange [{}:{}]\nset yrange [{}:{}]\n",
      quoted_text(chart.title), first, last, power_below(bottom) / 2, power_above(peak) * 2);
  script += fmt::format(
      "set arrow 1 from {0},graph 0 to {0},{1} nohead dt 2 lc rgb '#8a949e'\n"
      "set label 1 'ridge: {0:.3g} operations / byte' at {0},graph 0.03 offset 0.5,0 noenhanced tc rgb '#8a949e'\n",
      ridge, peak);
  script += fmt::format(
      "plot x*{0} < {1} ? x*{0} : {1} with lines lw 2 lc rgb '#2a6fb0' title 'roofline: {2}', \\\n"
      "  'data.tsv' using 1:2 with points pt 7 ps 1 lc rgb '#2a6fb0' title 'bound', \\\n"
      "  'data.tsv' using 1:3 with points pt 5 ps 1 lc rgb '#d9722b' title '{3}', \\\n"
      "  'data.tsv' using 1:2:4 with labels noenhanced rotate by -25 left offset 0.7,-0.3 font 'sans,9' notitle\n",
      bandwidth, peak, quoted_text(chart.hardware.name),
      std::any_of(chart.points.begin(), chart.points.end(),
                  [](const auto& point) { return point.measured.has_value(); })
          ? "measured"
          : "");
  return {.script = script, .data = data};
}

void draw_roofline(const RooflineChart& chart, const std::filesystem::path& file) {
  draw(roofline_files(chart, picture_terminal(file)), file);
}

}  // namespace foretell::report
