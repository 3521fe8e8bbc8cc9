#include "experiments/tables/survey_table_verdict.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "framework/core/error.h"

namespace foretell::tables {
namespace {

// Decimal fractions of a published table are not exact in binary; a number on the edge of its tolerance is within it.
constexpr double kEdge = 1e-9;

double slack(double published, const Tolerance& tolerance) {
  return tolerance.absolute.value_or(0) + tolerance.relative.value_or(0) * std::abs(published) + kEdge;
}

struct Range {
  double low = 0, high = 0;
};

Range published_range(const ComparedCell& cell) { return {cell.published->low, cell.published->high}; }

Range measured_range(const ComparedCell& cell) {
  return cell.interval ? Range{cell.interval->low, cell.interval->high} : Range{*cell.measured, *cell.measured};
}

// 1: a is above b, -1: below, 0: not ordered.
int order_of(const Range& a, const Range& b, double tie) {
  const auto above = [&](const Range& x, const Range& y) {
    return x.low - y.high > tie * std::max(std::abs(x.low), std::abs(y.high)) + kEdge;
  };
  return above(a, b) ? 1 : above(b, a) ? -1 : 0;
}

bool is_ordered(const ComparedCell& cell) {
  return cell.how.compare == Compare::Order && cell.published && cell.measured && cell.given.empty() &&
         cell.doubt.empty() && cell.unsure.empty();
}

// "ours is another model (why); ..." with the second part only where there is a first one.
std::string joined(const std::string& a, const std::string& b) { return a.empty() || b.empty() ? a + b : a + "; " + b; }

bool has_value(const ComparedCell& cell) {
  return cell.published && (cell.how.compare == Compare::Value || cell.how.compare == Compare::MayDiffer);
}

std::string more_than(const Tolerance& t) {
  return fmt::format("more than {} off", t.relative ? fmt::format("{:g}%", 100 * *t.relative)
                                                    : fmt::format("{:g}", t.absolute.value_or(0)));
}

JudgedCell by_value(const ComparedCell& cell) {
  if (is_within(*cell.published, *cell.measured, cell.how.tolerance)) return {CellVerdict::Reproduced, "", true};
  return {CellVerdict::Differs, joined(more_than(cell.how.tolerance), cell.how.because)};
}

// Whatever the table asks for.
JudgedCell recomputed(const ComparedCell& cell) {
  const bool within = has_value(cell) && is_within(*cell.published, *cell.measured, cell.how.tolerance);
  std::string words = fmt::format("{} was given what it shows", cell.given);
  if (has_value(cell) && !within) words = joined(words, more_than(cell.how.tolerance));
  return {CellVerdict::Recomputed, joined(words, cell.how.because), within};
}

JudgedCell by_order(std::span<const ComparedCell> cells, std::size_t own, double tie) {
  const ComparedCell& cell = cells[own];
  if (!cell.unsure.empty()) return {CellVerdict::NotComparable, joined(cell.unsure, cell.how.because)};
  std::vector<std::string> beaten, beating;  // rows that stand wrongly below and above this one
  int agreeing = 0;
  for (std::size_t other = 0; other < cells.size(); ++other) {
    if (other == own || !is_ordered(cells[other])) continue;
    const int published = order_of(published_range(cell), published_range(cells[other]), tie);
    const int here = order_of(measured_range(cell), measured_range(cells[other]), tie);
    if (!published || !here) continue;
    if (published == here)
      ++agreeing;
    else
      (here > 0 ? beaten : beating).push_back(cells[other].row);
  }
  if (beaten.empty() && beating.empty())
    return agreeing ? JudgedCell{CellVerdict::SameOrder, cell.how.because}
                    : JudgedCell{CellVerdict::NotComparable,
                                 joined("no other row can be ordered against it", cell.how.because)};
  std::string words;
  if (!beaten.empty()) words = fmt::format("here above {}, published below", fmt::join(beaten, ", "));
  if (!beating.empty()) words = joined(words, fmt::format("here below {}, published above", fmt::join(beating, ", ")));
  return {CellVerdict::Differs, words};
}

}  // namespace

std::string_view name_of(CellVerdict verdict) {
  switch (verdict) {
    case CellVerdict::Reproduced: return "reproduced";
    case CellVerdict::SameOrder: return "same order";
    case CellVerdict::Recomputed: return "recomputed from their record";
    case CellVerdict::Differs: return "differs";
    case CellVerdict::NotComparable: return "not comparable";
    case CellVerdict::NotMeasured: break;
  }
  return "not measured";
}

bool is_within(const Published& published, double measured, const Tolerance& tolerance) {
  return measured >= published.low - slack(published.low, tolerance) &&
         measured <= published.high + slack(published.high, tolerance);
}

JudgedColumn judge_column(std::span<const ComparedCell> cells, double tie) {
  JudgedColumn out;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const ComparedCell& cell = cells[i];
    out.by_order |= cell.published && cell.how.compare == Compare::Order;
    if (cell.measured && !cell.given.empty())
      out.cells.push_back(recomputed(cell));
    else if (!cell.published)
      out.cells.push_back({});
    else if (cell.how.compare == Compare::None)
      out.cells.push_back({CellVerdict::NotComparable, cell.how.because});
    else if (!cell.measured)
      out.cells.push_back({CellVerdict::NotMeasured, cell.missing});
    else if (!cell.doubt.empty())
      out.cells.push_back({CellVerdict::NotComparable, joined(cell.doubt, cell.how.because)});
    else if (cell.how.compare == Compare::Order)
      out.cells.push_back(by_order(cells, i, tie));
    else
      out.cells.push_back(by_value(cell));
    for (std::size_t j = 0; j < i && is_ordered(cell); ++j) {
      if (!is_ordered(cells[j])) continue;
      const int product = order_of(published_range(cell), published_range(cells[j]), tie) *
                          order_of(measured_range(cell), measured_range(cells[j]), tie);
      out.agreeing += product > 0;
      out.disagreeing += product < 0;
    }
  }
  if (const int pairs = out.agreeing + out.disagreeing; pairs >= kLeastPairs)
    out.kendall_tau = static_cast<double>(out.agreeing - out.disagreeing) / pairs;
  return out;
}

}  // namespace foretell::tables
