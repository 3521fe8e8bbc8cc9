#include "experiments/util/table.h"

#include <algorithm>

#include "framework/core/error.h"
#include "framework/core/printable.h"

namespace foretell::util {
namespace {

int width(const std::string& text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

Table::Table(std::vector<std::string> headings) {
  for (std::string& heading : headings) {
    left_.push_back(!heading.empty() && heading.front() == '<');
    if (left_.back()) heading.erase(0, 1);
  }
  rows_.push_back(std::move(headings));
  add_rule();
}

void Table::add(std::vector<std::string> cells) {
  FORETELL_CHECK(cells.size() == left_.size(), "{} cells in a table of {} columns", cells.size(), left_.size());
  for (std::string& cell : cells) cell = printable(cell);
  rows_.push_back(std::move(cells));
}

void Table::add_rule() { rows_.emplace_back(); }

void Table::add_title(const std::string& text) { rows_.push_back({printable(text)}); }

std::string Table::to_string() const {
  std::vector<int> widths(left_.size(), 0);
  for (const auto& row : rows_)
    for (std::size_t c = 0; c < row.size() && row.size() == widths.size(); ++c)
      widths[c] = std::max(widths[c], width(row[c]));
  int total = -2;
  for (const int w : widths) total += w + 2;
  std::string out;
  for (const auto& row : rows_) {
    std::string line = row.empty() ? std::string(std::max(total, 0), '-') : "";
    if (row.size() < widths.size() && !row.empty()) line = row.front();
    for (std::size_t c = 0; c < row.size() && row.size() == widths.size(); ++c) {
      const std::string padding(widths[c] - width(row[c]), ' ');
      line += (c ? "  " : "") + (left_[c] ? row[c] + padding : padding + row[c]);
    }
    while (!line.empty() && line.back() == ' ') line.pop_back();
    out += line + "\n";
  }
  return out;
}

}  // namespace foretell::util
