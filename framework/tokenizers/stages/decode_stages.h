// The stages that decoders are made of. Each says what it does to a sequence of tokens; decoder.h has the contract.
#pragma once

#include <algorithm>
#include <string>

#include "framework/tokenizers/stages/pattern.h"
#include "framework/tokenizers/stages/token_decoder.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers::stages {

// Sees one whole token at a time. Behind Fuse that is everything, at the end.
class WholeTokenStage : public DecodeStage {
 public:
  void begin() override { token_.clear(); }
  void text(std::string_view part) override { token_ += part; }
  void end() override { token(std::move(token_)); }

 protected:
  virtual void token(std::string text) = 0;

 private:
  std::string token_;
};

// Puts a space between tokens.
class JoinBySpace : public DecodeStage {
 public:
  void begin() override;

 private:
  bool first_ = true;
};

// All bytes of all tokens become one text, in which U+FFFD stands for what is not UTF-8. A token with a character that
// stands for no byte is taken as it is.
class ByteLevelStage : public WholeTokenStage {
 public:
  void finish() override;

 protected:
  void token(std::string text) override;

 private:
  bool begun_ = false;
  unicode::Utf8Repair repair_;
};

// The replacement character becomes a space, and nothing in the first token.
class MetaspaceStage : public WholeTokenStage {
 public:
  MetaspaceStage(std::string replacement, bool drop_in_first)
      : replacement_(std::move(replacement)), drop_(drop_in_first) {}

 protected:
  void token(std::string text) override;

 private:
  std::string replacement_;
  bool drop_;
};

// A run of tokens <0x00>..<0xFF> becomes their bytes if these are UTF-8, else one U+FFFD for each.
class ByteFallbackStage : public WholeTokenStage {
 public:
  void finish() override;

 protected:
  void token(std::string text) override;

 private:
  void flush();
  std::string bytes_;
};

// All tokens become one.
class FuseStage : public DecodeStage {
 public:
  void begin() override;
  void end() override {}
  void finish() override;

 private:
  bool begun_ = false;
};

// Takes up to `start` and `stop` characters `content` from the ends of each token.
class StripStage : public DecodeStage {
 public:
  StripStage(std::string content, std::size_t start, std::size_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void begin() override;
  void text(std::string_view part) override;
  void end() override;

 private:
  void give(std::string_view part);

  std::string content_;
  std::size_t start_;
  std::size_t stop_;
  std::size_t start_left_ = 0;
  std::size_t held_ = 0;  // `content` characters at the end, which may have to go
};

// Replaces a literal in each token.
class ReplaceStage : public DecodeStage {
 public:
  ReplaceStage(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  void begin() override;
  void text(std::string_view part) override;
  void end() override;

 private:
  std::string from_;
  std::string to_;
  std::string held_;  // the end of what has come: shorter than `from_`, may be its start
};

class ReplaceRegexStage : public WholeTokenStage {
 public:
  ReplaceRegexStage(Pattern pattern, std::string to) : pattern_(std::move(pattern)), to_(std::move(to)) {}

 protected:
  void token(std::string text) override;

 private:
  Pattern pattern_;
  std::string to_;
};

// Tokens but the first get a space before them or lose the prefix of continuing words; `cleanup` closes up punctuation
// and contractions.
class WordPieceStage : public WholeTokenStage {
 public:
  WordPieceStage(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}

 protected:
  void token(std::string text) override;

 private:
  std::string prefix_;
  bool cleanup_;
  bool first_ = true;
};

// The suffix of a word's last token becomes a space, at the very end nothing.
class WordSuffixStage : public WholeTokenStage {
 public:
  explicit WordSuffixStage(std::string suffix) : suffix_(std::move(suffix)) {}
  void finish() override;

 protected:
  void token(std::string text) override;

 private:
  std::string suffix_;
  std::string held_;
  bool holding_ = false;
};

std::string replace_all(std::string text, std::string_view from, std::string_view to);

}  // namespace foretell::tokenizers::stages
