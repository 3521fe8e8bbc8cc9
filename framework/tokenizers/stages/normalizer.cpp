#include "framework/tokenizers/stages/normalizer.h"

#include <vector>

#include "framework/tokenizers/stages/byte_level.h"
#include "framework/tokenizers/stages/growth_limit.h"
#include "framework/tokenizers/stages/pattern.h"
#include "framework/unicode/unicode.h"
#include "framework/unicode/unicode_normal_form.h"

namespace foretell::tokenizers::stages {
namespace {

Location part_of(const io::JsonView& json) {
  return {fmt::format("{}: {}", json.where().to_string(), json.path()), std::nullopt};
}

// Keeps, drops or rewrites character by character.
template <class F>
std::string map_characters(std::string_view text, F&& write) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const unicode::Character c = unicode::at(text, i);
    i += static_cast<std::size_t>(c.bytes);
    write(out, c.code);
  }
  return out;
}

// Full lower case has one character that becomes two: I with a dot above.
void append_lower(std::string& out, char32_t code) {
  if (code == 0x130)
    out += "i\xCC\x87";
  else
    unicode::append(out, unicode::to_lower_simple(code));
}

class NormalFormNormalizer : public Normalizer {
 public:
  explicit NormalFormNormalizer(unicode::NormalForm form) : form_(form) {}
  std::string apply(std::string text) const override { return unicode::normalize(text, form_); }

 private:
  unicode::NormalForm form_;
};

class Lowercase : public Normalizer {
 public:
  std::string apply(std::string text) const override { return map_characters(text, append_lower); }
};

class StripAccents : public Normalizer {
 public:
  std::string apply(std::string text) const override {
    return map_characters(text, [](std::string& out, char32_t code) {
      if (!unicode::is_mark(code)) unicode::append(out, code);
    });
  }
};

class StripSpace : public Normalizer {
 public:
  StripSpace(bool left, bool right) : left_(left), right_(right) {}
  std::string apply(std::string text) const override {
    std::size_t begin = 0, end = text.size();
    while (left_ && begin < end && unicode::is_space(unicode::at(text, begin).code))
      begin += static_cast<std::size_t>(unicode::at(text, begin).bytes);
    while (right_ && end > begin && unicode::is_space(unicode::before(text, end).code))
      end -= static_cast<std::size_t>(unicode::before(text, end).bytes);
    return text.substr(begin, end - begin);
  }

 private:
  bool left_;
  bool right_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  std::string apply(std::string text) const override { return text.empty() ? text : prefix_ + text; }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  explicit Replace(const io::JsonView& json)
      : pattern_(read_pattern(json.at("pattern"))), content_(json.at("content").string()), where_(part_of(json)) {}
  std::string apply(std::string text) const override {
    const GrowthLimit limit(text.size());
    std::string out;
    std::size_t position = 0;
    for (const unicode::TextRange match : pattern_.find_all(text)) {
      out.append(text, position, match.begin - position);
      out += content_;
      limit.check(out.size(), where_);
      position = match.end;
    }
    return out.append(text, position);
  }

 private:
  Pattern pattern_;
  std::string content_;
  Location where_;
};

class ByteLevelNormalizer : public Normalizer {
 public:
  std::string apply(std::string text) const override { return byte_level::to_characters(text); }
};

bool is_cjk(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

class BertNormalizer : public Normalizer {
 public:
  explicit BertNormalizer(const io::JsonView& json)
      : clean_(json.boolean_or("clean_text", true)),
        pad_cjk_(json.boolean_or("handle_chinese_chars", true)),
        lowercase_(json.boolean_or("lowercase", true)),
        strip_accents_(json.boolean_or("strip_accents", lowercase_)) {}

  std::string apply(std::string text) const override {
    if (clean_) text = map_characters(text, append_clean);
    if (pad_cjk_) {
      text = map_characters(text, [](std::string& out, char32_t code) {
        if (is_cjk(code)) out.push_back(' ');
        unicode::append(out, code);
        if (is_cjk(code)) out.push_back(' ');
      });
    }
    if (strip_accents_) {
      text = map_characters(unicode::normalize(text, {}), [](std::string& out, char32_t code) {
        if (!unicode::is_nonspacing_mark(code)) unicode::append(out, code);
      });
    }
    return lowercase_ ? Lowercase().apply(std::move(text)) : text;
  }

 private:
  static void append_clean(std::string& out, char32_t code) {
    const bool control = unicode::is_other(code) && code != '\t' && code != '\n' && code != '\r';
    if (control || code == 0xFFFD) return;
    unicode::append(out, unicode::is_space(code) ? U' ' : code);
  }

  bool clean_;
  bool pad_cjk_;
  bool lowercase_;
  bool strip_accents_;
};

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(const io::JsonView& list) : where_(part_of(list)) {
    for (std::size_t i = 0; i < list.size(); ++i) steps_.push_back(make_normalizer(list.at(i)));
  }
  std::string apply(std::string text) const override {
    const GrowthLimit limit(text.size());
    for (const auto& step : steps_) {
      text = step->apply(std::move(text));
      limit.check(text.size(), where_);
    }
    return text;
  }

 private:
  Location where_;
  std::vector<std::unique_ptr<const Normalizer>> steps_;
};

}  // namespace

std::unique_ptr<const Normalizer> make_normalizer(const io::JsonView& json) {
  const std::string type = json.type();
  if (type == "NFC")
    return std::make_unique<NormalFormNormalizer>(unicode::NormalForm{.compatibility = false, .compose = true});
  if (type == "NFD")
    return std::make_unique<NormalFormNormalizer>(unicode::NormalForm{.compatibility = false, .compose = false});
  if (type == "NFKC")
    return std::make_unique<NormalFormNormalizer>(unicode::NormalForm{.compatibility = true, .compose = true});
  if (type == "NFKD")
    return std::make_unique<NormalFormNormalizer>(unicode::NormalForm{.compatibility = true, .compose = false});
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "Strip")
    return std::make_unique<StripSpace>(json.boolean_or("strip_left", true), json.boolean_or("strip_right", true));
  if (type == "Prepend") return std::make_unique<Prepend>(json.at("prepend").string());
  if (type == "Replace") return std::make_unique<Replace>(json);
  if (type == "ByteLevel") return std::make_unique<ByteLevelNormalizer>();
  if (type == "BertNormalizer") return std::make_unique<BertNormalizer>(json);
  if (type == "Sequence") return std::make_unique<NormalizerSequence>(json.at("normalizers"));
  json.refuse(
      fmt::format("normalizer '{}' is not supported; supported: NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, "
                  "Prepend, Replace, "
                  "ByteLevel, BertNormalizer, Sequence",
                  unicode::printable(type)));
}

}  // namespace foretell::tokenizers::stages
