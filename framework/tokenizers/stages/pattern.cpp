#include "framework/tokenizers/stages/pattern.h"

namespace foretell::tokenizers::stages {

std::vector<unicode::TextRange> Pattern::find_all(std::string_view text) const {
  if (regex_) return regex_->find_all(text);
  std::vector<unicode::TextRange> found;
  for (std::size_t i = text.find(literal_); i != std::string_view::npos; i = text.find(literal_, i + literal_.size())) {
    found.push_back({i, i + literal_.size()});
  }
  return found;
}

Pattern read_pattern(const io::JsonView& json) {
  if (const auto text = json.find("String")) {
    if (text->string().empty()) text->refuse("an empty pattern");
    return Pattern::literal(text->string());
  }
  if (const auto regex = json.find("Regex"))
    return Pattern::regex(
        unicode::Regex(regex->string(), fmt::format("{}: {}", json.where().to_string(), regex->path())));
  json.refuse("expected {\"String\": ...} or {\"Regex\": ...}");
}

}  // namespace foretell::tokenizers::stages
