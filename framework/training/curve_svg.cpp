// The curve as a picture: one chart of losses; below it, where there are any, one of shares and one of lengths.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "framework/training/curve.h"

namespace foretell::training {
namespace {

constexpr double kWidth = 860, kHeight = 330, kLeft = 60, kRight = 200, kTop = 44, kBottom = 42;
constexpr std::array<const char*, 8> kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                 "#56b4e9", "#e69f00", "#666666", "#000000"};

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // step, value
};

enum class Measure { Loss, Share, Length, None };

Measure measure_of(const std::string& name) {
  if (name.starts_with("exact_match") || name.starts_with("acceptance.") ||
      name.starts_with("teacher_forced_acceptance"))
    return Measure::Share;
  if (name.starts_with("exit."))
    return name.ends_with(".heldout_loss")             ? Measure::Loss
           : name.ends_with(".mean_acceptance_length") ? Measure::Length
                                                       : Measure::None;
  if (name.starts_with("mean_acceptance_length") || name.starts_with("teacher_forced_length")) return Measure::Length;
  return name.starts_with("loss") || name.starts_with("heldout_loss") ? Measure::Loss : Measure::None;
}

std::vector<Series> series_of(const Curve& curve, Measure measure) {
  std::vector<Series> all;
  for (const CurvePoint& point : curve) {
    for (const auto& entry : point.values) {
      if (measure_of(entry.first) != measure) continue;
      auto series = std::find_if(all.begin(), all.end(), [&](const Series& s) { return s.name == entry.first; });
      if (series == all.end()) series = all.insert(all.end(), Series{entry.first, {}});
      series->points.push_back({point.step, entry.second});
    }
  }
  return all;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  return out;
}

// A step of 1, 2 or 5 times a power of ten that divides `span` into about `parts`.
double nice_step(double span, int parts) {
  const double raw = span / parts;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= raw) return factor * power;
  return 10 * power;
}

class Chart {
 public:
  Chart(const std::string& title, double top, double last_step, double low, double high)
      : top_(top), last_step_(std::max(1.0, last_step)), low_(low), high_(high > low ? high : low + 1) {
    text_ = fmt::format("<text x=\"{}\" y=\"{}\" font-weight=\"bold\">{}</text>\n", kLeft, top_ + 24, escaped(title));
  }

  void axes() {
    const double step_y = nice_step(high_ - low_, 5);
    for (double value = std::ceil(low_ / step_y) * step_y; value <= high_ + 1e-9; value += step_y)
      text_ += fmt::format(
          "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/><text x=\"{3}\" y=\"{4:.1f}\" "
          "text-anchor=\"end\">{5:g}</text>\n",
          kLeft, kWidth - kRight, y(value), kLeft - 6, y(value) + 4, value);
    const double step_x = nice_step(last_step_, 6);
    for (double step = 0; step <= last_step_ + 1e-9; step += step_x)
      text_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:g}</text>\n", x(step),
                           bottom() + 16, step);
    text_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">step</text>\n",
                         (kLeft + kWidth - kRight) / 2, bottom() + 34);
    text_ += fmt::format("<polyline fill=\"none\" stroke=\"#333\" points=\"{0},{1} {0},{2} {3},{2}\"/>\n", kLeft,
                         top_ + kTop, bottom(), kWidth - kRight);
  }

  void line(const Series& series, std::size_t index) {
    const char* colour = kColours[index % kColours.size()];
    std::string points;
    for (const auto& [step, value] : series.points)
      if (std::isfinite(value)) points += fmt::format("{:.1f},{:.1f} ", x(step), y(std::min(value, high_)));
    text_ +=
        fmt::format("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\" points=\"{}\"/>\n", colour, points);
    const double at = top_ + kTop + 8 + 17 * static_cast<double>(index);
    text_ += fmt::format(
        "<rect x=\"{}\" y=\"{:.1f}\" width=\"12\" height=\"3\" fill=\"{}\"/><text x=\"{}\" y=\"{:.1f}\">{}</text>\n",
        kWidth - kRight + 12, at, colour, kWidth - kRight + 30, at + 6, escaped(series.name));
  }

  const std::string& text() const { return text_; }

 private:
  double bottom() const { return top_ + kHeight - kBottom; }
  double x(double step) const { return kLeft + step / last_step_ * (kWidth - kRight - kLeft); }
  double y(double value) const { return bottom() - (value - low_) / (high_ - low_) * (kHeight - kBottom - kTop); }

  double top_, last_step_, low_, high_;
  std::string text_;
};

std::string chart(const std::vector<Series>& all, const std::string& title, double top, double last_step, double high) {
  for (const Series& series : all)
    for (const auto& [step, value] : series.points)
      if (std::isfinite(value)) high = std::max(high, value);
  Chart chart(title, top, last_step, 0, high);
  chart.axes();
  for (std::size_t i = 0; i < all.size(); ++i) chart.line(all[i], i);
  return chart.text();
}

}  // namespace

std::string curve_svg(const Curve& curve, const std::string& title) {
  struct Part {
    Measure measure;
    std::string title;
    double high;  // of its axis, at least
  };
  const std::vector<Part> parts = {{Measure::Loss, title + ": loss (nats a token)", 0},
                                   {Measure::Share, "held-out shares: exact match, acceptance by position", 1},
                                   {Measure::Length, "held-out acceptance length (tokens a round)", 1}};
  const double last_step = curve.empty() ? 1 : curve.back().step;
  std::string charts;
  double height = 0;
  for (const Part& part : parts) {
    const std::vector<Series> series = series_of(curve, part.measure);
    if (series.empty() && part.measure != Measure::Loss) continue;
    charts += chart(series, part.title, height, last_step, part.high);
    height += kHeight;
  }
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "font-family=\"sans-serif\" "
      "font-size=\"12\">\n<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n",
      kWidth, height);
  return svg + charts + "</svg>\n";
}

}  // namespace foretell::training
