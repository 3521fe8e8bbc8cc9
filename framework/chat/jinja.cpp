#include "framework/chat/jinja.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "framework/core/printable.h"
#include "framework/unicode/unicode.h"

namespace foretell::chat {
namespace {

// Thrown and caught within this file only.
struct NotRendered {
  std::string why;  // in a few words: what is not known here
};

// ---- Texts and tags
// --------------------------------------------------------------------------------------------------------------------

struct Lexeme {
  enum class Kind { Name, Number, Text, Sign, End } kind = Kind::End;
  std::string value = {};
  bool is(std::string_view text) const { return (kind == Kind::Name || kind == Kind::Sign) && value == text; }
};
using Lexemes = std::vector<Lexeme>;

struct Piece {
  enum class Kind { Text, Output, Statement } kind = Kind::Text;
  std::string text = {};
  Lexemes tokens = {};
};

// A sign or a name of the template as it is shown.
std::string in_quotes(std::string_view text) { return fmt::format("'{}'", printable(excerpt(text, 40))); }

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string unescaped(std::string_view body) {
  std::string out;
  for (std::size_t i = 0; i < body.size(); ++i) {
    if (body[i] != '\\') {
      out += body[i];
      continue;
    }
    if (++i == body.size()) throw NotRendered{"a text that is not closed"};
    switch (body[i]) {
      case 'n': out += '\n'; break;
      case 't': out += '\t'; break;
      case 'r': out += '\r'; break;
      case '\\':
      case '\'':
      case '"': out += body[i]; break;
      default: throw NotRendered{fmt::format("the escape {} in a text", in_quotes(body.substr(i - 1, 2)))};
    }
  }
  return out;
}

// The end of the string that starts at `at`: the index of its closing quote.
std::size_t closing_quote(std::string_view text, std::size_t at) {
  for (std::size_t i = at + 1; i < text.size(); ++i) {
    if (text[i] == '\\')
      ++i;
    else if (text[i] == text[at])
      return i;
  }
  throw NotRendered{"a text that is not closed"};
}

// Signs that are not known are lexemes too: what is not executed may hold them.
Lexemes lex(std::string_view text) {
  Lexemes out;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    std::size_t end = i + 1;
    if (is_blank(c)) {
      ++i;
      continue;
    }
    Lexeme token;
    if (c == '\'' || c == '"') {
      const std::size_t quote = closing_quote(text, i);
      token = {Lexeme::Kind::Text, std::string(text.substr(i + 1, quote - i - 1))};
      end = quote + 1;
    } else if (is_letter(c) || is_digit(c)) {
      while (end < text.size() && (is_letter(text[end]) || is_digit(text[end]))) ++end;
      token = {is_digit(c) ? Lexeme::Kind::Number : Lexeme::Kind::Name, std::string(text.substr(i, end - i))};
    } else {
      const std::string_view two = text.substr(i, 2);
      if (two == "==" || two == "!=" || two == "<=" || two == ">=" || two == "//" || two == "**") end = i + 2;
      token = {Lexeme::Kind::Sign, std::string(text.substr(i, end - i))};
    }
    out.push_back(std::move(token));
    i = end;
  }
  out.emplace_back();
  return out;
}

// Where a tag's closing bracket starts. Strings may hold brackets.
std::size_t tag_end(std::string_view text, std::size_t at, std::string_view closing) {
  for (std::size_t i = at; i + 1 < text.size(); ++i) {
    if (text.substr(i, 2) == closing) return i;
    if (closing != "#}" && (text[i] == '\'' || text[i] == '"')) i = closing_quote(text, i);
  }
  throw NotRendered{"a tag that is not closed"};
}

void strip_end(std::string& text) { text.resize(unicode::stripped_end(text).size()); }

// lstrip_blocks: blanks between the start of a line and a block.
void strip_indent(std::string& text, bool at_start) {
  const std::size_t newline = text.rfind('\n');
  const std::size_t start = newline == std::string::npos ? 0 : newline + 1;
  if ((start > 0 || at_start) && unicode::stripped(std::string_view(text).substr(start)).empty()) text.resize(start);
}

// Jinja reads "\r\n" and "\r" as "\n", within texts too.
std::string one_kind_of_newline(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    out += text[i] == '\r' ? '\n' : text[i];
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') ++i;
  }
  return out;
}

std::vector<Piece> split(std::string_view text) {
  std::vector<Piece> out;
  std::string plain;
  bool strip_start = false, drop_newline = false;
  // A single newline at the very end is not part of a template.
  if (text.ends_with('\n')) text.remove_suffix(1);
  bool starts_line = true;
  const auto add_plain = [&](std::string_view part) {
    const std::string_view all = part;
    if (drop_newline && part.starts_with('\n')) part.remove_prefix(1);
    if (strip_start) part = unicode::stripped_start(part);
    const std::size_t dropped = all.size() - part.size();
    starts_line = dropped > 0 ? all[dropped - 1] == '\n' : all.data() == text.data();
    plain = part;
  };
  for (std::size_t at = 0;;) {
    std::size_t open = text.find('{', at);
    while (open != std::string_view::npos && open + 1 < text.size() && text[open + 1] != '{' && text[open + 1] != '%' &&
           text[open + 1] != '#')
      open = text.find('{', open + 1);
    if (open != std::string_view::npos && open + 1 >= text.size()) open = std::string_view::npos;
    add_plain(text.substr(at, open == std::string_view::npos ? std::string_view::npos : open - at));
    if (open == std::string_view::npos) break;
    const char kind = text[open + 1];
    const std::string_view closing = kind == '{' ? "}}" : kind == '%' ? "%}" : "#}";
    std::size_t begin = open + 2, end = tag_end(text, begin, closing);
    at = end + 2;
    const bool strip_before = begin < end && text[begin] == '-', keep_indent = begin < end && text[begin] == '+';
    if (strip_before || keep_indent) ++begin;
    strip_start = end > begin && text[end - 1] == '-';
    const bool keep_newline = end > begin && text[end - 1] == '+';
    drop_newline = kind != '{' && !keep_newline;
    if (strip_start || keep_newline) --end;
    if (strip_before)
      strip_end(plain);
    else if (kind != '{' && !keep_indent)
      strip_indent(plain, starts_line);
    if (!plain.empty()) out.push_back({Piece::Kind::Text, plain});
    if (kind == '#') continue;
    out.push_back(
        {kind == '{' ? Piece::Kind::Output : Piece::Kind::Statement, {}, lex(text.substr(begin, end - begin))});
  }
  if (!plain.empty()) out.push_back({Piece::Kind::Text, plain});
  return out;
}

// ---- Values
// ----------------------------------------------------------------------------------------------------------------------------

struct Value {
  enum class Kind { Undefined, None, Bool, Number, Text, Messages, Message, Loop } kind = Kind::Undefined;
  std::string text = {};
  std::int64_t number = 0;                 // of a Bool and a Number; of a Loop its index
  std::span<const Message> messages = {};  // of a Message the one; of a Loop all that it runs over

  static Value of(bool value) { return {Kind::Bool, {}, value}; }
  static Value of(std::int64_t value) { return {Kind::Number, {}, value}; }
  static Value of(std::string value) { return {Kind::Text, std::move(value)}; }
  static Value list(std::span<const Message> messages) { return {Kind::Messages, {}, 0, messages}; }
  static Value message(const Message& message) { return {Kind::Message, {}, 0, {&message, 1}}; }

  bool truth() const {
    switch (kind) {
      case Kind::Undefined:
      case Kind::None: return false;
      case Kind::Bool:
      case Kind::Number: return number != 0;
      case Kind::Text: return !text.empty();
      case Kind::Messages: return !messages.empty();
      default: return true;
    }
  }
  std::string printed() const {
    if (kind == Kind::Text) return text;
    if (kind == Kind::Number) return std::to_string(number);
    if (kind == Kind::Undefined) return "";
    throw NotRendered{"output of a value that is no text"};
  }
};

// ---- Running
// ---------------------------------------------------------------------------------------------------------------------------

class Budget {
 public:
  explicit Budget(const JinjaLimits& limits) : limits_(limits), steps_(limits.steps) {}
  void step() {
    if (--steps_ < 0) throw NotRendered{"more work in it than is allowed"};
  }
  void check_depth(int depth) const {
    if (depth > limits_.depth) throw NotRendered{"blocks or parentheses that are nested too deeply"};
  }
  // A text that is built or copied: a long one is as many steps.
  void check_size(std::size_t size) {
    constexpr std::size_t kBytesOfStep = 64;
    if (size > limits_.output) throw NotRendered{"a text that grows too long"};
    steps_ -= static_cast<int>(size / kBytesOfStep);
    step();
  }

 private:
  const JinjaLimits& limits_;
  int steps_;
};

using Scopes = std::vector<std::map<std::string, Value>>;

// One expression, evaluated while it is read. A side that is not taken is read without being looked at: what is not
// known there does not matter.
class Expression {
 public:
  Expression(const Lexemes& tokens, std::size_t at, const Scopes& scopes, Budget& budget)
      : tokens_(tokens), at_(at), scopes_(scopes), budget_(budget) {}

  Value whole() {
    Value value = either();
    if (tokens_[at_].kind != Lexeme::Kind::End) throw NotRendered{here()};
    return value;
  }

 private:
  bool take(std::string_view text) {
    if (!tokens_[at_].is(text)) return false;
    ++at_;
    return true;
  }
  std::string here() const {
    const Lexeme& token = tokens_[at_];
    return token.kind == Lexeme::Kind::End ? "an expression that stops too early"
                                           : in_quotes(token.value) + " in an expression";
  }
  void need(std::string_view text) {
    if (!take(text)) throw NotRendered{here()};
  }
  std::string next_name() {
    if (tokens_[at_].kind != Lexeme::Kind::Name) throw NotRendered{here()};
    return tokens_[at_++].value;
  }
  // What is not known, where it is looked at.
  template <class... Args>
  Value unknown(fmt::format_string<Args...> what, Args&&... args) const {
    if (live_) throw NotRendered{fmt::format(what, std::forward<Args>(args)...)};
    return {};
  }
  template <class Read>
  Value read(bool live, Read&& side) {
    const bool before = std::exchange(live_, live_ && live);
    Value value = side();
    live_ = before;
    return value;
  }

  Value either() {
    budget_.step();
    budget_.check_depth(++depth_);
    Value value = has_condition() ? conditional() : any_of();
    --depth_;
    return value;
  }
  // Whether an `if` follows on this level.
  bool has_condition() const {
    int open = 0;
    for (std::size_t i = at_; tokens_[i].kind != Lexeme::Kind::End; ++i) {
      budget_.step();
      if (tokens_[i].is("(") || tokens_[i].is("[")) ++open;
      if ((tokens_[i].is(")") || tokens_[i].is("]")) && --open < 0) return false;
      if (open == 0 && tokens_[i].is("if")) return true;
    }
    return false;
  }
  // The condition stands behind the value that it decides about.
  Value conditional() {
    const std::size_t start = at_;
    read(false, [&] { return any_of(); });
    if (!take("if")) return unknown("{}", here());
    const bool chosen = any_of().truth();
    const std::size_t behind = std::exchange(at_, start);
    Value value = read(chosen, [&] { return any_of(); });
    at_ = behind;
    Value other;
    if (take("else")) other = read(!chosen, [&] { return either(); });
    return chosen ? value : other;
  }
  Value any_of() {
    Value value = all_of();
    while (take("or")) {
      const bool decided = value.truth();
      Value right = read(!decided, [&] { return all_of(); });
      if (!decided) value = std::move(right);
    }
    return value;
  }
  Value all_of() {
    Value value = inverted();
    while (take("and")) {
      const bool open = value.truth();
      Value right = read(open, [&] { return inverted(); });
      if (open) value = std::move(right);
    }
    return value;
  }
  Value inverted() {
    bool invert = false, any = false;
    while (take("not")) invert = !invert, any = true;
    Value value = compared();
    return any ? Value::of(value.truth() != invert) : value;
  }
  Value compared() {
    Value value = summed();
    for (;;) {
      if (take("==")) {
        value = equal(value, summed());
      } else if (take("!=")) {
        value = equal(value, summed());
        value.number = !value.number;
      } else if (take(">")) {
        const Value right = summed();
        value = Value::of(number(right) < number(value));
      } else if (take("<")) {
        const Value right = summed();
        value = Value::of(number(value) < number(right));
      } else if (tokens_[at_].is("in") || (tokens_[at_].is("not") && tokens_[at_ + 1].is("in"))) {
        take("not");
        ++at_;
        summed();
        value = unknown("the operator 'in'");
      } else {
        return value;
      }
    }
  }
  Value equal(const Value& a, const Value& b) const {
    using Kind = Value::Kind;
    const auto counts = [](const Value& v) { return v.kind == Kind::Bool || v.kind == Kind::Number; };
    const auto plain = [&](const Value& v) {
      return counts(v) || v.kind == Kind::Text || v.kind == Kind::None || v.kind == Kind::Undefined;
    };
    if (!plain(a) || !plain(b)) return unknown("a comparison of messages or lists");
    if (counts(a) && counts(b)) return Value::of(a.number == b.number);
    return Value::of(a.kind == b.kind && a.text == b.text);
  }
  std::int64_t number(const Value& value) const {
    if (value.kind == Value::Kind::Number) return value.number;
    return unknown("a comparison of what is no number").number;
  }
  // Texts side by side: + and ~ are the same where both sides are texts.
  Value summed() {
    Value value = tested();
    while (tokens_[at_].is("+") || tokens_[at_].is("~")) {
      ++at_;
      const Value right = tested();
      const bool texts = value.kind == Value::Kind::Text && right.kind == Value::Kind::Text;
      if (!texts) value = unknown("'+' or '~' beside what is no text");
      value.text += right.text;
      budget_.check_size(value.text.size());
    }
    return value;
  }
  Value tested() {
    Value value = filtered();
    while (take("is")) {
      const bool invert = take("not");
      value = test(value, next_name());
      if (invert) value.number = !value.number;
      if (tokens_[at_].is("is")) throw NotRendered{"a test of a test"};
    }
    return value;
  }
  Value test(const Value& value, const std::string& name) const {
    if (name == "defined") return Value::of(value.kind != Value::Kind::Undefined);
    if (name == "undefined") return Value::of(value.kind == Value::Kind::Undefined);
    if (name == "none") return Value::of(value.kind == Value::Kind::None);
    if (name == "string") return Value::of(value.kind == Value::Kind::Text);
    return unknown("the test {}", in_quotes(name));
  }
  Value filtered() {
    Value value = member_of();
    while (take("|")) {
      const std::string name = next_name();
      const bool bare = !tokens_[at_].is("(") || tokens_[at_ + 1].is(")");
      if (take("(")) arguments();
      if (bare && name == "trim" && value.kind == Value::Kind::Text)
        value.text = std::string(unicode::stripped(value.text));
      else if (bare && name == "length" && value.kind == Value::Kind::Messages)
        value = Value::of(static_cast<std::int64_t>(value.messages.size()));
      else
        value = unknown("the filter {}", in_quotes(name));
    }
    return value;
  }
  Value member_of() {
    Value value = primary();
    for (;;) {
      budget_.step();
      if (take(".")) {
        const std::string name = next_name();
        if (!take("(")) {
          value = member(value, name);
          continue;
        }
        const bool bare = tokens_[at_].is(")");
        arguments();
        if (bare && name == "strip" && value.kind == Value::Kind::Text)
          value.text = std::string(unicode::stripped(value.text));
        else
          value = unknown("the method {}", in_quotes(name));
      } else if (take("[")) {
        value = subscript(value);
      } else if (take("(")) {
        const std::string name = at_ >= 2 ? tokens_[at_ - 2].value : "";
        arguments();
        value = unknown("the function {}", in_quotes(name));  // raise_exception() raises, others are not known
      } else {
        return value;
      }
    }
  }
  // Of a call that is not made here.
  void arguments() {
    while (!take(")")) {
      if (tokens_[at_].kind == Lexeme::Kind::Name && tokens_[at_ + 1].is("=")) at_ += 2;
      read(false, [&] { return either(); });
      if (!tokens_[at_].is(")")) need(",");
    }
  }
  Value member(const Value& of, const std::string& name) const {
    if (of.kind == Value::Kind::Message) {
      if (name == "role") return Value::of(of.messages[0].role);
      if (name == "content") return Value::of(of.messages[0].content);
      return {};
    }
    if (of.kind == Value::Kind::Loop) {
      const auto count = static_cast<std::int64_t>(of.messages.size());
      if (name == "first") return Value::of(of.number == 0);
      if (name == "last") return Value::of(of.number == count - 1);
      if (name == "index0") return Value::of(of.number);
      if (name == "index") return Value::of(of.number + 1);
      if (name == "length") return Value::of(count);
    }
    return unknown("the member {} of what has none or is not known", in_quotes(name));
  }
  // A member by its name, a message by its index, or all messages but the first.
  Value subscript(const Value& of) {
    const Value index = either();
    const bool slice = take(":");
    need("]");
    if (!slice && index.kind == Value::Kind::Text) return member(of, index.text);
    if (of.kind != Value::Kind::Messages || index.kind != Value::Kind::Number)
      return unknown("a subscript that is not of the messages");
    const auto count = static_cast<std::int64_t>(of.messages.size());
    if (slice)
      return index.number == 1 ? Value::list(of.messages.subspan(count > 0 ? 1 : 0))
                               : unknown("a slice that is not [1:]");
    const std::int64_t at = index.number < 0 ? count + index.number : index.number;
    return at >= 0 && at < count ? Value::message(of.messages[static_cast<std::size_t>(at)]) : Value();
  }
  Value primary() {
    const Lexeme& token = tokens_[at_];
    switch (token.kind) {
      case Lexeme::Kind::Text: return Value::of(unescaped(tokens_[at_++].value));
      case Lexeme::Kind::Number: return Value::of(integer(tokens_[at_++].value));
      case Lexeme::Kind::Name: return named(tokens_[at_++].value);
      default: break;
    }
    if (take("-")) {
      if (tokens_[at_].kind != Lexeme::Kind::Number) throw NotRendered{here()};
      return Value::of(-integer(tokens_[at_++].value));
    }
    need("(");
    Value value = either();
    need(")");
    return value;
  }
  static std::int64_t integer(const std::string& digits) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size() || value > 1'000'000)
      throw NotRendered{fmt::format("the number {}", in_quotes(digits))};
    return value;
  }
  Value named(const std::string& name) const {
    if (name == "true" || name == "True") return Value::of(true);
    if (name == "false" || name == "False") return Value::of(false);
    if (name == "none" || name == "None") return {Value::Kind::None};
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope)
      if (const auto found = scope->find(name); found != scope->end()) {
        budget_.check_size(found->second.text.size());
        return found->second;
      }
    return {};
  }

  const Lexemes& tokens_;
  std::size_t at_;
  const Scopes& scopes_;
  Budget& budget_;
  int depth_ = 0;
  bool live_ = true;
};

class Run {
 public:
  Run(std::vector<Piece> pieces, const JinjaInput& input, const JinjaLimits& limits)
      : pieces_(std::move(pieces)), budget_(limits) {
    scopes_.push_back({{"messages", Value::list(input.messages)},
                       {"add_generation_prompt", Value::of(input.add_generation_prompt)},
                       {"bos_token", Value::of(input.bos_token)},
                       {"eos_token", Value::of(input.eos_token)}});
  }

  std::string all() {
    if (const std::size_t end = block(0, true, 0); end != pieces_.size()) throw NotRendered{stray(end)};
    return std::move(out_);
  }

 private:
  std::string stray(std::size_t at) const {
    return at == pieces_.size() ? "a block that is not closed"
                                : fmt::format("the statement {} in this place", in_quotes(word(at)));
  }
  std::string word(std::size_t at) const {
    const Piece& piece = pieces_[at];
    return piece.kind == Piece::Kind::Statement ? piece.tokens[0].value : "";
  }
  Value evaluate(std::size_t at, std::size_t from) {
    return Expression(pieces_[at].tokens, from, scopes_, budget_).whole();
  }

  // Runs or skips pieces up to a word that ends or divides a block; returns where that is.
  std::size_t block(std::size_t at, bool run, int depth) {
    budget_.check_depth(depth);
    while (at < pieces_.size()) {
      budget_.step();
      const Piece& piece = pieces_[at];
      const std::string name = word(at);
      if (name == "elif" || name == "else" || name.starts_with("end")) return at;
      if (piece.kind == Piece::Kind::Text) {
        if (run) emit(piece.text);
      } else if (piece.kind == Piece::Kind::Output) {
        if (run) emit(evaluate(at, 0).printed());
      } else if (name == "if") {
        at = condition(at, run, depth);
      } else if (name == "for") {
        at = loop(at, run, depth);
      } else if (name == "set" && has_sign(piece.tokens)) {
        if (run) assign(at);
      } else if (name == "generation" || name == "set" || name == "macro" || name == "call" || name == "filter") {
        if (run && name != "generation")
          throw NotRendered{"the block " + in_quotes(name)};  // which marks what is trained on, no more
        at = block(at + 1, run, depth + 1);
        if (at == pieces_.size() || word(at) != "end" + name) throw NotRendered{stray(at)};
      } else if (run) {
        throw NotRendered{"the statement " + in_quotes(name)};
      }
      ++at;
    }
    return at;
  }

  // Of {% set x = ... %}; without the sign what stands up to "endset" is the value.
  static bool has_sign(const Lexemes& tokens) {
    return std::ranges::any_of(tokens, [](const Lexeme& token) { return token.is("="); });
  }
  void assign(std::size_t at) {
    const Lexemes& tokens = pieces_[at].tokens;
    if (tokens[1].kind != Lexeme::Kind::Name || !tokens[2].is("="))
      throw NotRendered{"{% set %} of what is no plain name"};
    scopes_.back()[tokens[1].value] = evaluate(at, 3);
  }

  // Returns where its "endif" is.
  std::size_t condition(std::size_t at, bool run, int depth) {
    bool done = false;
    for (;;) {
      const bool is_else = word(at) == "else";
      const bool chosen = run && !done && (is_else || evaluate(at, 1).truth());
      done = done || chosen;
      at = block(at + 1, chosen, depth + 1);
      if (at == pieces_.size()) throw NotRendered{stray(at)};
      if (word(at) == "endif") return at;
      if (is_else || (word(at) != "elif" && word(at) != "else")) throw NotRendered{stray(at)};
    }
  }

  // Over messages alone. Returns where its "endfor" is.
  std::size_t loop(std::size_t at, bool run, int depth) {
    const Lexemes& tokens = pieces_[at].tokens;
    std::span<const Message> messages;
    if (run) {
      if (tokens.size() < 5 || tokens[1].kind != Lexeme::Kind::Name || !tokens[2].is("in"))
        throw NotRendered{"a loop with more than one variable"};
      const Value value = evaluate(at, 3);
      if (value.kind != Value::Kind::Messages) throw NotRendered{"a loop that is not over the messages"};
      messages = value.messages;
    }
    for (std::size_t i = 0; i < messages.size(); ++i) {
      scopes_.push_back({{tokens[1].value, Value::message(messages[i])},
                         {"loop", {Value::Kind::Loop, {}, static_cast<std::int64_t>(i), messages}}});
      end_of_loop(block(at + 1, true, depth + 1));
      scopes_.pop_back();
    }
    return end_of_loop(block(at + 1, false, depth + 1));
  }
  std::size_t end_of_loop(std::size_t at) const {
    if (at == pieces_.size() || word(at) != "endfor") throw NotRendered{stray(at)};
    return at;
  }

  void emit(const std::string& text) {
    out_ += text;
    budget_.check_size(out_.size());
  }

  std::vector<Piece> pieces_;
  Budget budget_;
  Scopes scopes_;
  std::string out_;
};

}  // namespace

std::optional<std::string> render_jinja(std::string_view text, const JinjaInput& input, const JinjaLimits& limits,
                                        std::string* why) {
  try {
    if (text.size() > limits.bytes) throw NotRendered{fmt::format("more than {} bytes", limits.bytes)};
    return Run(split(one_kind_of_newline(text)), input, limits).all();
  } catch (const NotRendered& refused) {
    if (why != nullptr) *why = refused.why;
    return std::nullopt;
  }
}

}  // namespace foretell::chat
