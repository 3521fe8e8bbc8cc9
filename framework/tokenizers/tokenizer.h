// Text to token ids and back.
//
// Contract:
//  - A Tokenizer is immutable once it has been loaded and is shared between threads.
//  - encode() takes any bytes: text that is not UTF-8 is read as the file's reference library reads it (U+FFFD, or byte
//  tokens).
//  - decode() is strict: an id outside [0, vocab_size) is the caller's mistake and an Error. An id inside that range
//  that the file leaves
//    unnamed decodes to nothing.
//  - StreamDecoder and decode_continuation are lenient: what a model has sampled from the padding rows of its output
//  layer (ids at or above
//    vocab_size) decodes to nothing, because a run must not be lost to it.
//  - A file that cannot be understood is an Error that names the file, what was found and what was expected.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/core/types.h"

namespace foretell::tokenizers {

struct EncodeOptions {
  bool add_special = false;   // add what the file's post-processor (or its add_bos flag) says: usually BOS in front
  bool parse_special = true;  // special tokens written out in the text become their ids
};

// The state of one left-to-right decoding. Appends text to `out` as soon as no later token can change it.
class DecodeState {
 public:
  virtual ~DecodeState() = default;
  virtual void push(Token id, std::string& out) = 0;  // id in [0, vocab_size)
  virtual void finish(std::string& out) = 0;          // what was held back: an unfinished character becomes U+FFFD
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual int vocab_size() const = 0;  // every id is below this, added tokens included
  virtual Tokens encode(std::string_view text, const EncodeOptions& options = {}) const = 0;
  virtual std::unique_ptr<DecodeState> start_decoding(bool skip_special) const = 0;  // must not outlive the tokenizer
  virtual std::optional<Token> bos() const = 0;
  virtual std::vector<Token> eos() const = 0;
  virtual std::optional<Token> token_to_id(std::string_view piece) const = 0;
  virtual std::string id_to_token(Token id) const = 0;  // Error if out of range; "" for an unnamed id
  virtual std::string kind() const = 0;                 // for people: "tokenizer.json (BPE)"

  std::string decode(TokenSpan ids, bool skip_special = false) const;
};

// `path` is a folder (tokenizer.json is preferred, then tokenizer.model, then tokenizer.bin) or one such file under any
// name that ends in .json, .model or .bin. BOS and EOS come from the tokenizer_config.json, special_tokens_map.json and
// generation_config.json beside it.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path);

// nullptr where the folder holds none of the three files.
std::shared_ptr<const Tokenizer> try_load_tokenizer(const std::filesystem::path& folder);

// Decodes token by token. The pushes and finish(), joined, equal decode() of all tokens; no push ever returns part of a
// UTF-8 character; a push costs amortised O(1) whatever has gone before.
class StreamDecoder {
 public:
  explicit StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special = false);
  void prime(
      TokenSpan context);  // decode what comes before and drop the text, so that a continuation keeps its leading space
  std::string push(Token id);
  std::string finish();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<DecodeState> state_;
};

// The text that `ids` add after `context` (a prompt): unlike decode(ids), it keeps a leading space.
std::string decode_continuation(const std::shared_ptr<const Tokenizer>& tokenizer, TokenSpan context, TokenSpan ids,
                                bool skip_special = false);

}  // namespace foretell::tokenizers
