// tokenizer.json: the Hugging Face tokenizers format. The text is cut at added tokens, normalized, cut into pieces,
// given to the model, and framed by the post-processor; each of these has a file of its own.
#include <nlohmann/json.hpp>
#include <utility>

#include "framework/tokenizers/models/token_model.h"
#include "framework/tokenizers/stages/added_tokens.h"
#include "framework/tokenizers/stages/growth_limit.h"
#include "framework/tokenizers/stages/post_processor.h"
#include "framework/tokenizers/stages/token_decoder.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers {
namespace {

class JsonTokenizer : public Tokenizer {
 public:
  JsonTokenizer(const io::JsonView& json, const SpecialTokenSettings& settings) : where_(json.where()) {
    model_ = tokenizers::models::make_token_model(json.at("model"));
    if (const auto part = json.find("normalizer")) normalizer_ = tokenizers::stages::make_normalizer(*part);
    if (const auto part = json.find("pre_tokenizer")) pre_tokenizer_ = tokenizers::stages::make_pre_tokenizer(*part);
    if (const auto part = json.find("post_processor")) post_processor_ = tokenizers::stages::PostProcessor(*part);
    if (const auto part = json.find("decoder")) decoder_ = tokenizers::stages::TokenDecoder(*part);
    const auto added = json.find("added_tokens");
    added_ = std::make_unique<tokenizers::stages::AddedTokens>(added ? &*added : nullptr, model_->vocab(),
                                                               normalizer_.get());
    if (const auto id = post_processor_.largest_id(); id && *id >= vocab_size())
      json.at("post_processor")
          .refuse(fmt::format("adds token {}, which is not in the vocabulary of {} tokens", *id, vocab_size()));
    ends_ = find_end_tokens(*this, settings, {}, json.where().to_string());
  }

  int vocab_size() const override { return std::max(model_->vocab().size(), added_->vocab().size()); }
  std::optional<Token> bos() const override { return ends_.bos; }
  std::vector<Token> eos() const override { return ends_.eos; }
  std::string kind() const override { return fmt::format("tokenizer.json ({})", model_->name()); }

  std::optional<Token> token_to_id(std::string_view piece) const override {
    const auto id = added_->vocab().id(piece);
    return id ? id : model_->vocab().id(piece);
  }

  std::string id_to_token(Token id) const override {
    if (id < 0 || id >= vocab_size()) fail("token id {} is not in the vocabulary of {} tokens", id, vocab_size());
    const std::string* text = find_text(id);
    return text != nullptr ? *text : std::string();
  }

  Tokens encode(std::string_view text, const EncodeOptions& options) const override {
    const std::string valid = unicode::lossy(text);
    Normalized normalized{tokenizers::stages::GrowthLimit(valid.size())};
    Tokens ids;
    for (const tokenizers::stages::Segment& segment : added_->split_raw(valid, options.parse_special)) {
      if (segment.token)
        ids.push_back(*segment.token);
      else
        encode_plain(valid.substr(segment.range.begin, segment.range.end - segment.range.begin),
                     segment.range.begin == 0, options, normalized, ids);
    }
    return options.add_special ? post_processor_.apply(std::move(ids)) : ids;
  }

  std::unique_ptr<DecodeState> start_decoding(bool skip_special) const override {
    return std::make_unique<State>(*this, skip_special);
  }

 private:
  class State : public DecodeState {
   public:
    State(const JsonTokenizer& owner, bool skip_special)
        : owner_(owner), skip_special_(skip_special), stages_(owner.decoder_.make_stages()) {
      if (!stages_.empty()) stages_.back()->set_next(&sink_);
    }
    void push(Token id, std::string& out) override {
      const std::string* text = owner_.find_text(id);
      if (text == nullptr || (skip_special_ && owner_.added_->is_special(*text))) return;
      sink_.out = &out;
      tokenizers::stages::DecodeStage& first = stages_.empty() ? sink_ : *stages_.front();
      first.begin();
      first.text(*text);
      first.end();
    }
    void finish(std::string& out) override {
      sink_.out = &out;
      tokenizers::stages::DecodeStage& first = stages_.empty() ? sink_ : *stages_.front();
      first.finish();
    }

   private:
    struct Sink : tokenizers::stages::DecodeStage {
      std::string* out = nullptr;
      void begin() override {}
      void text(std::string_view part) override { *out += part; }
      void end() override {}
      void finish() override {}
    };
    const JsonTokenizer& owner_;
    bool skip_special_;
    tokenizers::stages::DecodeStages stages_;
    Sink sink_;
  };

  const std::string* find_text(Token id) const {
    const std::string* text = added_->vocab().text(id);
    return text != nullptr ? text : model_->vocab().text(id);
  }

  // Of one call of encode(), whose segments are normalized one by one.
  struct Normalized {
    tokenizers::stages::GrowthLimit limit;
    std::size_t bytes = 0;
  };

  void encode_plain(std::string text, bool at_start, const EncodeOptions& options, Normalized& normalized,
                    Tokens& ids) const {
    if (normalizer_) text = normalizer_->apply(std::move(text));
    normalized.limit.check(normalized.bytes += text.size(), where_);
    for (const tokenizers::stages::Segment& segment : added_->split_normalized(text, options.parse_special)) {
      if (segment.token) {
        ids.push_back(*segment.token);
        continue;
      }
      tokenizers::stages::Pieces pieces;
      pieces.text = text.substr(segment.range.begin, segment.range.end - segment.range.begin);
      pieces.ranges = {{0, pieces.text.size()}};
      pieces.at_start = at_start && segment.range.begin == 0;
      if (pre_tokenizer_) pre_tokenizer_->apply(pieces);
      model_->tokenize(pieces, ids);
    }
  }

  Location where_;
  std::unique_ptr<const tokenizers::models::TokenModel> model_;
  std::unique_ptr<const tokenizers::stages::Normalizer> normalizer_;
  std::unique_ptr<const tokenizers::stages::PreTokenizer> pre_tokenizer_;
  tokenizers::stages::PostProcessor post_processor_;
  tokenizers::stages::TokenDecoder decoder_;
  std::unique_ptr<const tokenizers::stages::AddedTokens> added_;
  EndTokens ends_;
};

}  // namespace

std::shared_ptr<const Tokenizer> parse_tokenizer_json(std::string_view bytes, const std::string& name,
                                                      const SpecialTokenSettings& settings) {
  const Location where{name, std::nullopt};
  const nlohmann::json document = io::parse_json(bytes, where);
  return std::make_shared<const JsonTokenizer>(io::JsonView(document, "", where), settings);
}

}  // namespace foretell::tokenizers
