// How a published number and the one measured here compare.
//
// Contract: pure. A column is judged as a whole, because the order of its rows says something where their values
// cannot: another model on another machine has other speed-ups, but a method that beats another one there should beat
// it here.
//
//   reproduced       the value is within the tolerance of what was published
//   same order       values are not comparable; every pair of rows with this one stands in the published order
//   recomputed from their record   the pipeline was given what it shows (a known answer, recorded or stated rates):
//   nothing was measured,
//                                  so nothing is reproduced, and the row is in no order
//   differs          neither
//   not comparable   the table says why, or no other row can be ordered against this one
//   not measured     nothing has been run yet
//
// Whether a number was given is not the table's to say: it follows from the pipeline (given_acceptance() of
// experiments/study/pipeline.h).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/metrics/statistics.h"

namespace foretell::tables {

// A number, or the range of several (low < high).
struct Published {
  double low = 0, high = 0;
  std::string text = {};  // as it was printed
};

enum class Compare {
  Value,      // declared reproducible: has to be within the tolerance
  MayDiffer,  // compared in the same way; where it differs, the table knows a reason
  Order,      // only the order of the rows is compared
  None,
};

struct Tolerance {
  std::optional<double> absolute = {}, relative = {};  // relative: a share of the published number
};

struct CellComparison {
  Compare compare = Compare::None;
  std::string because = {};  // in words; empty for Value
  Tolerance tolerance = {};  // for Value and MayDiffer
};

struct ComparedCell {
  std::string row = {};
  std::optional<Published> published = {};
  std::optional<double> measured = {};
  std::optional<metrics::Interval> interval = {};  // of the measured number, where it has one
  CellComparison how = {};
  std::string missing = {};  // why nothing is measured
  std::string given = {};    // which parts of the pipeline were given what it shows; empty: it was measured
  std::string doubt = {};    // why the clock that measured it cannot be believed
  std::string unsure = {};   // why it cannot be ordered: too few prompts, or no interval
};

enum class CellVerdict { Reproduced, SameOrder, Recomputed, Differs, NotComparable, NotMeasured };
std::string_view name_of(CellVerdict verdict);

struct JudgedCell {
  std::optional<CellVerdict> verdict = {};  // none where nothing was published, unless a number was given
  std::string reason = {};                  // empty for Reproduced
  bool within = false;                      // compared by value, and within the tolerance
};

// Fewer pairs have no rank correlation: of one pair it is 1 or -1, of two it is a coin thrown twice.
constexpr int kLeastPairs = 3;

struct JudgedColumn {
  std::vector<JudgedCell> cells = {};      // in the order of the rows
  int agreeing = 0, disagreeing = 0;       // pairs of rows that are compared by order and decided on both sides
  bool by_order = false;                   // whether any row is compared so
  std::optional<double> kendall_tau = {};  // over these pairs; none for fewer than kLeastPairs
};

bool is_within(const Published& published, double measured, const Tolerance& tolerance);

// Two published ranges are ordered if they do not overlap, two measured numbers if their intervals do not. `tie`:
// numbers that differ by no more than this share of the larger one are not ordered.
JudgedColumn judge_column(std::span<const ComparedCell> cells, double tie);

}  // namespace foretell::tables
