#include "framework/tokenizers/stages/token_decoder.h"

#include <algorithm>

#include "framework/tokenizers/stages/decode_stages.h"

namespace foretell::tokenizers::stages {
namespace {

constexpr std::int64_t kMaxStrip = 1 << 16;
constexpr double kMaxDecodedGrowth = 1000;

std::string literal_at(const io::JsonView& json, std::string_view key, std::string fallback) {
  const auto value = json.find(key);
  if (!value) return fallback;
  if (value->string().empty()) value->refuse("must not be empty");
  return value->string();
}

std::string character_at(const io::JsonView& json, std::string_view key, std::string fallback) {
  std::string text = literal_at(json, key, std::move(fallback));
  if (unicode::to_utf32(text).size() != 1) json.at(key).refuse("expected one character");
  return text;
}

std::size_t count_at(const io::JsonView& json, std::string_view key) {
  const std::int64_t count = json.integer_or(key, 0);
  if (count < 0 || count > kMaxStrip) json.at(key).refuse(fmt::format("expected 0 to {}", kMaxStrip));
  return static_cast<std::size_t>(count);
}

// A stage with its settings, made anew for each decoding.
template <class Stage, class... Args>
std::function<std::unique_ptr<DecodeStage>()> factory(Args... args) {
  return [=] { return std::make_unique<Stage>(args...); };
}

}  // namespace

TokenDecoder::TokenDecoder() { factories_.push_back(factory<JoinBySpace>()); }

TokenDecoder::TokenDecoder(const io::JsonView& json) {
  const double growth = read(json);
  if (!(growth <= kMaxDecodedGrowth))
    json.refuse(fmt::format("its replacements may make a text {:.3g} times as long; at most {} times are taken", growth,
                            kMaxDecodedGrowth));
}

double TokenDecoder::read(const io::JsonView& json) {
  double growth = 1;
  const std::string type = json.type();
  if (type == "ByteLevel") {
    factories_.push_back(factory<ByteLevelStage>());
  } else if (type == "Metaspace") {
    const bool drop =
        json.string_or("prepend_scheme", json.boolean_or("add_prefix_space", true) ? "always" : "never") != "never";
    factories_.push_back(factory<MetaspaceStage>(character_at(json, "replacement", "\xE2\x96\x81"), drop));
  } else if (type == "ByteFallback") {
    factories_.push_back(factory<ByteFallbackStage>());
  } else if (type == "Fuse") {
    factories_.push_back(factory<FuseStage>());
  } else if (type == "Strip") {
    factories_.push_back(
        factory<StripStage>(character_at(json, "content", " "), count_at(json, "start"), count_at(json, "stop")));
  } else if (type == "Replace") {
    const Pattern pattern = read_pattern(json.at("pattern"));
    const std::string content = json.at("content").string();
    factories_.push_back(pattern.as_literal() ? factory<ReplaceStage>(*pattern.as_literal(), content)
                                              : factory<ReplaceRegexStage>(pattern, content));
    // A regular expression may match every character, or nothing between any two.
    const double longer = static_cast<double>(content.size());
    growth =
        pattern.as_literal() ? std::max(1.0, longer / static_cast<double>(pattern.as_literal()->size())) : 1 + longer;
  } else if (type == "WordPiece") {
    factories_.push_back(factory<WordPieceStage>(json.string_or("prefix", "##"), json.boolean_or("cleanup", true)));
  } else if (type == "BPEDecoder") {
    factories_.push_back(factory<WordSuffixStage>(literal_at(json, "suffix", "</w>")));
  } else if (type == "Sequence") {
    const io::JsonView list = json.at("decoders");
    for (std::size_t i = 0; i < list.size(); ++i) growth *= read(list.at(i));
  } else {
    json.refuse(
        fmt::format("decoder '{}' is not supported; supported: ByteLevel, Metaspace, ByteFallback, Fuse, Strip, "
                    "Replace, WordPiece, BPEDecoder, "
                    "Sequence",
                    unicode::printable(type)));
  }
  return growth;
}

DecodeStages TokenDecoder::make_stages() const {
  DecodeStages stages;
  for (const auto& make : factories_) {
    stages.push_back(make());
    if (stages.size() > 1) stages[stages.size() - 2]->set_next(stages.back().get());
  }
  return stages;
}

}  // namespace foretell::tokenizers::stages
