// Oniguruma's (Ruby) pattern syntax in PCRE2's terms. What differs and occurs in tokenizer files: \s and \w are Unicode
// properties, \h is a hex digit, (?m) means that the dot takes newlines, \p{Han} means the script alone, properties
// have long names, and classes nest and intersect.
#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <utility>

#include "framework/core/error.h"
#include "framework/unicode/regex.h"
#include "framework/unicode/unicode.h"

namespace foretell::unicode {
namespace {

constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d})";
constexpr int kMaxNesting = 50;

// Property names, in lower case without spaces, hyphens and underscores, whose PCRE2 spelling is another.
const std::map<std::string, std::string, std::less<>>& property_names() {
  static const std::map<std::string, std::string, std::less<>> names = {{"letter", "L"},
                                                                        {"casedletter", "L&"},
                                                                        {"uppercaseletter", "Lu"},
                                                                        {"lowercaseletter", "Ll"},
                                                                        {"titlecaseletter", "Lt"},
                                                                        {"modifierletter", "Lm"},
                                                                        {"otherletter", "Lo"},
                                                                        {"mark", "M"},
                                                                        {"nonspacingmark", "Mn"},
                                                                        {"spacingmark", "Mc"},
                                                                        {"enclosingmark", "Me"},
                                                                        {"number", "N"},
                                                                        {"decimalnumber", "Nd"},
                                                                        {"letternumber", "Nl"},
                                                                        {"othernumber", "No"},
                                                                        {"punctuation", "P"},
                                                                        {"punct", "P"},
                                                                        {"connectorpunctuation", "Pc"},
                                                                        {"dashpunctuation", "Pd"},
                                                                        {"openpunctuation", "Ps"},
                                                                        {"closepunctuation", "Pe"},
                                                                        {"initialpunctuation", "Pi"},
                                                                        {"finalpunctuation", "Pf"},
                                                                        {"otherpunctuation", "Po"},
                                                                        {"symbol", "S"},
                                                                        {"mathsymbol", "Sm"},
                                                                        {"currencysymbol", "Sc"},
                                                                        {"modifiersymbol", "Sk"},
                                                                        {"othersymbol", "So"},
                                                                        {"separator", "Z"},
                                                                        {"spaceseparator", "Zs"},
                                                                        {"lineseparator", "Zl"},
                                                                        {"paragraphseparator", "Zp"},
                                                                        {"other", "C"},
                                                                        {"control", "Cc"},
                                                                        {"format", "Cf"},
                                                                        {"surrogate", "Cs"},
                                                                        {"privateuse", "Co"},
                                                                        {"unassigned", "Cn"},
                                                                        {"alpha", "Alphabetic"},
                                                                        {"alnum", ""},
                                                                        {"upper", "Uppercase"},
                                                                        {"lower", "Lowercase"},
                                                                        {"space", "White_Space"},
                                                                        {"digit", "Nd"},
                                                                        {"cntrl", "Cc"},
                                                                        {"any", "Any"}};
  return names;
}

// Scripts that tokenizer files name: PCRE2 would take characters of other scripts that are also used with them.
bool is_script(std::string_view folded) {
  static constexpr std::array<std::string_view, 20> scripts = {
      "han",      "hiragana", "katakana", "hangul",     "latin",   "greek",   "cyrillic",
      "arabic",   "hebrew",   "thai",     "devanagari", "bengali", "tamil",   "telugu",
      "armenian", "georgian", "khmer",    "lao",        "myanmar", "bopomofo"};
  return std::find(scripts.begin(), scripts.end(), folded) != scripts.end();
}

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    while (position_ < pattern_.size()) {
      const char c = pattern_[position_];
      if (c == '\\') {
        escape(out_, false);
      } else if (c == '[') {
        out_ += character_class(0);
      } else if (c == '(' && starts_with("(?")) {
        group_options();
      } else {
        out_.push_back(c);
        ++position_;
      }
    }
    return std::move(out_);
  }

 private:
  bool starts_with(std::string_view text) const { return pattern_.substr(position_).starts_with(text); }

  [[noreturn]] void refuse(std::string_view why) const {
    fail("{}: pattern \"{}\": {}", where_, unicode::printable(pattern_), why);
  }

  // One escape at position_; inside a class it must stay one item of a class.
  void escape(std::string& out, bool in_class) {
    if (position_ + 1 >= pattern_.size()) refuse("ends in a backslash");
    const char c = pattern_[position_ + 1];
    position_ += 2;
    const auto word_class = [&](std::string_view negation) {
      out += in_class ? std::string(kWord) : fmt::format("[{}{}]", negation, kWord);
    };
    switch (c) {
      case 's': out += R"(\p{White_Space})"; return;
      case 'S': out += R"(\P{White_Space})"; return;
      case 'w': word_class(""); return;
      case 'W': word_class("^"); return;
      case 'h': out += in_class ? "0-9A-Fa-f" : "[0-9A-Fa-f]"; return;
      case 'H': out += "[^0-9A-Fa-f]"; return;
      case 'u': {
        const std::string_view digits = pattern_.substr(position_, 4);
        if (digits.size() < 4) refuse("\\u needs four hex digits");
        out += fmt::format("\\x{{{}}}", digits);
        position_ += 4;
        return;
      }
      case 'p':
      case 'P': property(out, c == 'P'); return;
      default: out.append({'\\', c}); return;
    }
  }

  void property(std::string& out, bool negated) {
    if (position_ >= pattern_.size() || pattern_[position_] != '{') {
      out += negated ? "\\P" : "\\p";
      return;
    }
    const std::size_t close = pattern_.find('}', position_);
    if (close == std::string_view::npos) refuse("\\p{ without }");
    std::string name(pattern_.substr(position_ + 1, close - position_ - 1));
    position_ = close + 1;
    if (name.starts_with('^')) {
      negated = !negated;
      name.erase(0, 1);
    }
    std::string folded;
    for (const char c : name)
      if (c != ' ' && c != '_' && c != '-') folded.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
    if (const auto known = property_names().find(folded); known != property_names().end() && !known->second.empty())
      name = known->second;
    if (folded == "alnum") refuse("\\p{Alnum} is not supported");
    if (is_script(folded)) name = "sc:" + name;
    out += fmt::format("\\{}{{{}}}", negated ? 'P' : 'p', name);
  }

  // "(?m-i:" and the like: only the options' letters change.
  void group_options() {
    out_ += "(?";
    position_ += 2;
    std::size_t end = position_;
    while (end < pattern_.size() && (pattern_[end] == '-' || (pattern_[end] >= 'a' && pattern_[end] <= 'z'))) ++end;
    if (end >= pattern_.size() || (pattern_[end] != ':' && pattern_[end] != ')')) return;  // a lookaround or a name
    for (; position_ < end; ++position_) out_.push_back(pattern_[position_] == 'm' ? 's' : pattern_[position_]);
  }

  // A class at position_. Nested and intersected classes become alternatives and lookaheads, each of which takes
  // exactly one character.
  std::string character_class(int depth) {
    if (depth > kMaxNesting) refuse("classes nest too deep");
    ++position_;
    const bool negated = position_ < pattern_.size() && pattern_[position_] == '^';
    if (negated) ++position_;
    std::vector<std::string> operands(1);  // separated by &&: each an alternative of `items` and nested classes
    std::vector<std::string> items(1);
    bool plain = true;
    for (bool first = true;; first = false) {
      if (position_ >= pattern_.size()) refuse("[ without ]");
      const char c = pattern_[position_];
      if (c == ']' && !first) break;
      if (starts_with("[:")) {
        posix_class(items.back());
      } else if (c == '[') {
        plain = false;
        operands.back() += (operands.back().empty() ? "" : "|") + character_class(depth + 1);
      } else if (starts_with("&&")) {
        plain = false;
        position_ += 2;
        operands.emplace_back();
        items.emplace_back();
      } else if (starts_with("\\W") || starts_with("\\H")) {
        plain = false;  // inside a class they are classes of their own
        operands.back() += operands.back().empty() ? "" : "|";
        escape(operands.back(), false);
      } else if (c == '\\') {
        escape(items.back(), true);
      } else {
        items.back().push_back(c);
        ++position_;
      }
    }
    ++position_;
    if (plain) return fmt::format("[{}{}]", negated ? "^" : "", items.front());
    return joined(operands, items, negated);
  }

  void posix_class(std::string& items) {
    const std::size_t close = pattern_.find(":]", position_ + 2);
    if (close == std::string_view::npos) {
      items += "\\[";
      ++position_;
      return;
    }
    items += pattern_.substr(position_, close + 2 - position_);
    position_ = close + 2;
  }

  static std::string joined(const std::vector<std::string>& operands, const std::vector<std::string>& items,
                            bool negated) {
    std::string condition;
    for (std::size_t i = 0; i < operands.size(); ++i) {
      std::string alternatives = operands[i];
      if (!items[i].empty()) alternatives += fmt::format("{}[{}]", alternatives.empty() ? "" : "|", items[i]);
      condition += fmt::format("(?={})", alternatives.empty() ? "(?!)" : alternatives);
    }
    return negated ? fmt::format("(?:(?!{})(?s:.))", condition) : fmt::format("(?:{}(?s:.))", condition);
  }

  std::string_view pattern_;
  const std::string& where_;
  std::size_t position_ = 0;
  std::string out_;
};

}  // namespace

std::string translate_pattern(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace foretell::unicode
