// Aligned tables for people.
//
// Contract: widths count characters, not bytes; numbers are aligned to the right. No line has trailing blanks.
#pragma once

#include <string>
#include <vector>

namespace foretell::util {

class Table {
 public:
  // A heading that starts with '<' is a text column, aligned to the left.
  explicit Table(std::vector<std::string> headings);
  void add(std::vector<std::string> cells);
  void add_rule();                          // a line across
  void add_title(const std::string& text);  // a line of its own, however long
  std::string to_string() const;

 private:
  std::vector<bool> left_;
  std::vector<std::vector<std::string>> rows_;  // an empty row is a rule, a row of one cell a title
};

}  // namespace foretell::util
