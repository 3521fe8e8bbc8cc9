// The numbers of a cell that reports show: where each stands in summary.json, what it is called, how it is written.
//
// Contract: one table; every format of a report and the charts go through it, so a number is called the same
// everywhere. `name` is the column in CSV and the key in JSON and says the unit where there is one ("ttft_ms_p50");
// shares are between 0 and 1 there and percent in tables for people.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace foretell::analysis {

enum class NumberFormat { Count, OneDigit, ThreeDigits, Ratio, Share, RoundShare, Short };
enum class InTable { Always, IfAny, Never };

struct Measure {
  const char* name;
  const char* pointer;  // a JSON pointer into what it is read from
  const char* heading;
  NumberFormat format;
  InTable in_table;
};

std::span<const Measure> task_measures();  // of one task of a cell; pointers into summary.json's tasks/TASK
std::span<const Measure>
cell_measures();  // of a whole cell; pointers into its `performance`, with prediction.json below /overlap
std::size_t task_measure(std::string_view name);
std::size_t cell_measure(std::string_view name);

// As report.json has them: "one_digit", "if_any".
const char* name_of(NumberFormat format);
const char* name_of(InTable in_table);

// "-" for a number that does not exist.
std::string formatted(const std::optional<double>& value, NumberFormat format);

}  // namespace foretell::analysis
