// A pattern of a tokenizer.json: {"String": "..."} taken literally or {"Regex": "..."}.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "framework/io/json_reader.h"
#include "framework/unicode/regex.h"

namespace foretell::tokenizers::stages {

class Pattern {
 public:
  static Pattern literal(std::string text) { return Pattern(std::move(text), nullptr); }
  static Pattern regex(unicode::Regex regex) {
    return Pattern("", std::make_shared<const unicode::Regex>(std::move(regex)));
  }

  std::vector<unicode::TextRange> find_all(std::string_view text) const;
  const std::string* as_literal() const { return regex_ ? nullptr : &literal_; }

 private:
  Pattern(std::string literal, std::shared_ptr<const unicode::Regex> regex)
      : literal_(std::move(literal)), regex_(std::move(regex)) {}

  std::string literal_;
  std::shared_ptr<const unicode::Regex> regex_;
};

Pattern read_pattern(const io::JsonView& json);

}  // namespace foretell::tokenizers::stages
