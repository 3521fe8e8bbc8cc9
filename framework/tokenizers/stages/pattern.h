// A pattern of a tokenizer.json: {"String": "..."} taken literally or {"Regex": "..."}.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "framework/io/json_reader.h"
#include "framework/unicode/regex.h"

namespace foretell {

class Pattern {
 public:
  static Pattern literal(std::string text) { return Pattern(std::move(text), nullptr); }
  static Pattern regex(Regex regex) { return Pattern("", std::make_shared<const Regex>(std::move(regex))); }

  std::vector<TextRange> find_all(std::string_view text) const;
  const std::string* as_literal() const { return regex_ ? nullptr : &literal_; }

 private:
  Pattern(std::string literal, std::shared_ptr<const Regex> regex) : literal_(std::move(literal)), regex_(std::move(regex)) {}

  std::string literal_;
  std::shared_ptr<const Regex> regex_;
};

Pattern read_pattern(const JsonView& json);

}  // namespace foretell
