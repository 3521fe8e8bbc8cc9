#include "framework/tokenizers/stages/pre_tokenizer.h"

#include <functional>

#include "framework/tokenizers/stages/byte_level.h"
#include "framework/tokenizers/stages/growth_limit.h"
#include "framework/tokenizers/stages/pattern.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers::stages {
namespace {

// Finds matches in one piece; ranges count from the piece's own start, because no pattern sees the neighbouring pieces.
using Finder = std::function<std::vector<unicode::TextRange>(std::string_view)>;

void split_all(Pieces& pieces, const Finder& find, SplitRule rule) {
  std::vector<unicode::TextRange> out;
  for (const unicode::TextRange range : pieces.ranges) {
    std::vector<unicode::TextRange> matches = find(pieces.view(range));
    for (unicode::TextRange& match : matches) match = {match.begin + range.begin, match.end + range.begin};
    split_range(range, matches, rule, out);
  }
  pieces.ranges = std::move(out);
}

// Rewrites every piece; what lies between pieces is dropped.
template <class F>
void rewrite_all(Pieces& pieces, F&& write) {
  Pieces out;
  out.text.reserve(pieces.text.size() + pieces.text.size() / 4);
  out.at_start = pieces.at_start && !pieces.ranges.empty() && pieces.ranges.front().begin == 0;
  for (std::size_t i = 0; i < pieces.ranges.size(); ++i) {
    const std::size_t begin = out.text.size();
    write(out.text, pieces.view(pieces.ranges[i]), i == 0 && out.at_start);
    if (out.text.size() > begin) out.ranges.push_back({begin, out.text.size()});
  }
  pieces = std::move(out);
}

// Characters of one class, each a match or each run a match.
struct CharacterFinder {
  std::function<bool(char32_t)> wanted;
  std::vector<unicode::TextRange> operator()(std::string_view text) const {
    std::vector<unicode::TextRange> found;
    for (std::size_t i = 0; i < text.size();) {
      const unicode::Character c = unicode::at(text, i);
      const std::size_t end = i + static_cast<std::size_t>(c.bytes);
      if (wanted(c.code)) found.push_back({i, end});
      i = end;
    }
    return found;
  }
};

// Runs of word characters and runs of what is neither word nor space.
std::vector<unicode::TextRange> words_and_signs(std::string_view text) {
  std::vector<unicode::TextRange> found;
  enum class Kind { kSpace, kWord, kSign } previous = Kind::kSpace;
  for (std::size_t i = 0; i < text.size();) {
    const unicode::Character c = unicode::at(text, i);
    const Kind kind = unicode::is_word(c.code) ? Kind::kWord : unicode::is_space(c.code) ? Kind::kSpace : Kind::kSign;
    const std::size_t end = i + static_cast<std::size_t>(c.bytes);
    if (kind != Kind::kSpace) {
      if (kind == previous)
        found.back().end = end;
      else
        found.push_back({i, end});
    }
    previous = kind;
    i = end;
  }
  return found;
}

class SplitBy : public PreTokenizer {
 public:
  SplitBy(Finder find, SplitRule rule) : find_(std::move(find)), rule_(rule) {}
  void apply(Pieces& pieces) const override { split_all(pieces, find_, rule_); }

 private:
  Finder find_;
  SplitRule rule_;
};

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex) : add_prefix_space_(add_prefix_space), use_regex_(use_regex) {}

  void apply(Pieces& pieces) const override {
    if (add_prefix_space_) {
      rewrite_all(pieces, [](std::string& out, std::string_view piece, bool) {
        if (!piece.starts_with(' ')) out.push_back(' ');
        out += piece;
      });
    }
    if (use_regex_) {
      std::vector<unicode::TextRange> words;
      for (const unicode::TextRange range : pieces.ranges)
        byte_level::split_words(pieces.view(range), range.begin, words);
      pieces.ranges = std::move(words);
    }
    rewrite_all(pieces, [](std::string& out, std::string_view piece, bool) {
      for (const char byte : piece) byte_level::append_character(out, static_cast<unsigned char>(byte));
    });
  }

 private:
  bool add_prefix_space_;
  bool use_regex_;
};

// Spaces become a visible character, which also stands before the text, so that a word carries the space before it.
class Metaspace : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };
  Metaspace(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}

  void apply(Pieces& pieces) const override {
    rewrite_all(pieces, [this](std::string& out, std::string_view piece, bool first) {
      const bool wanted = prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && first);
      if (wanted && !piece.starts_with(replacement_) && !piece.starts_with(' ')) out += replacement_;
      for (const char byte : piece) byte == ' ' ? void(out += replacement_) : out.push_back(byte);
    });
    if (split_)
      split_all(pieces, [this](std::string_view text) { return Pattern::literal(replacement_).find_all(text); },
                {SplitBehavior::kMergedWithNext});
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  bool split_;
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(const io::JsonView& list)
      : where_{fmt::format("{}: {}", list.where().to_string(), list.path()), std::nullopt} {
    for (std::size_t i = 0; i < list.size(); ++i) steps_.push_back(make_pre_tokenizer(list.at(i)));
  }
  void apply(Pieces& pieces) const override {
    const GrowthLimit limit(pieces.text.size());
    for (const auto& step : steps_) {
      step->apply(pieces);
      limit.check(pieces.text.size(), where_);
    }
  }

 private:
  Location where_;
  std::vector<std::unique_ptr<const PreTokenizer>> steps_;
};

std::string one_character(const io::JsonView& json) {
  if (unicode::to_utf32(json.string()).size() != 1) json.refuse("expected one character");
  return json.string();
}

std::unique_ptr<const PreTokenizer> make_metaspace(const io::JsonView& json) {
  const std::string replacement = json.find("replacement") ? one_character(json.at("replacement")) : "\xE2\x96\x81";
  const std::string scheme =
      json.string_or("prepend_scheme", json.boolean_or("add_prefix_space", true) ? "always" : "never");
  const bool split = json.boolean_or("split", true);
  if (scheme == "always") return std::make_unique<Metaspace>(replacement, Metaspace::Prepend::kAlways, split);
  if (scheme == "first") return std::make_unique<Metaspace>(replacement, Metaspace::Prepend::kFirst, split);
  if (scheme == "never") return std::make_unique<Metaspace>(replacement, Metaspace::Prepend::kNever, split);
  json.at("prepend_scheme").refuse("expected always, first or never");
}

std::unique_ptr<const PreTokenizer> make_split(const io::JsonView& json) {
  const SplitRule rule{read_split_behavior(json.at("behavior")), json.boolean_or("invert", false)};
  return std::make_unique<SplitBy>(
      [pattern = read_pattern(json.at("pattern"))](std::string_view text) { return pattern.find_all(text); }, rule);
}

std::unique_ptr<const PreTokenizer> split_characters(std::function<bool(char32_t)> wanted, SplitBehavior behavior) {
  return std::make_unique<SplitBy>(CharacterFinder{std::move(wanted)}, SplitRule{behavior});
}

std::unique_ptr<const PreTokenizer> make_character_split(const io::JsonView& json, const std::string& type) {
  if (type == "Digits") {
    const bool individual = json.boolean_or("individual_digits", false);
    return split_characters(unicode::is_number, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    const auto behavior = json.find("behavior");
    return split_characters(unicode::is_punctuation,
                            behavior ? read_split_behavior(*behavior) : SplitBehavior::kIsolated);
  }
  if (type == "WhitespaceSplit") return split_characters(unicode::is_space, SplitBehavior::kRemoved);
  if (type == "CharDelimiterSplit") {
    const std::string delimiter = one_character(json.at("delimiter"));
    return split_characters([code = unicode::at(delimiter, 0).code](char32_t c) { return c == code; },
                            SplitBehavior::kRemoved);
  }
  return nullptr;
}

class BertPreTokenizer : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    split_all(pieces, CharacterFinder{unicode::is_space}, {SplitBehavior::kRemoved});
    split_all(pieces, CharacterFinder{unicode::is_punctuation}, {SplitBehavior::kIsolated});
  }
};

}  // namespace

std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const io::JsonView& json) {
  const std::string type = json.type();
  if (type == "ByteLevel")
    return std::make_unique<ByteLevel>(json.boolean_or("add_prefix_space", true), json.boolean_or("use_regex", true));
  if (type == "Split") return make_split(json);
  if (type == "Metaspace") return make_metaspace(json);
  if (type == "Whitespace") return std::make_unique<SplitBy>(words_and_signs, SplitRule{SplitBehavior::kRemoved, true});
  if (type == "BertPreTokenizer") return std::make_unique<BertPreTokenizer>();
  if (type == "Sequence") return std::make_unique<PreTokenizerSequence>(json.at("pretokenizers"));
  if (auto by_character = make_character_split(json, type)) return by_character;
  json.refuse(
      fmt::format("pre-tokenizer '{}' is not supported; supported: ByteLevel, Split, Metaspace, Digits, Punctuation, "
                  "Whitespace, WhitespaceSplit, "
                  "CharDelimiterSplit, BertPreTokenizer, Sequence",
                  unicode::printable(type)));
}

}  // namespace foretell::tokenizers::stages
