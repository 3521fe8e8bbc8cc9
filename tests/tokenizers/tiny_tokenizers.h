// Small tokenizers of our own for tests, as the bytes of their files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace foretell::testing {

// Two small tokenizer.json files. kBytes: byte-level BPE; id b stands for byte b, then come 16 merges (256 "he", 259
// "hello", 264 " world", 270 "abc"). kMetaspace: <unk> <s> </s>, the 256 bytes, then U+2581, letters and merges (272
// U+2581 "abc"); byte fallback, Llama-2's decoder.
enum class Base { kBytes, kMetaspace };

// `parts` is a JSON object whose keys replace those of the file; the keys of its "model" replace those of the model.
std::string tiny_tokenizer_json(Base base, std::string_view parts);

// llama2.c's format.
struct ScoredPiece {
  std::string text;
  float score;
};
std::string tiny_tokenizer_bin(const std::vector<ScoredPiece>& pieces, std::int32_t longest);
std::string tiny_tokenizer_bin();  // unknown, BOS, EOS, 256 bytes, then a few letters and merges

// SentencePiece's format: BPE, the three control pieces, 256 bytes, then a few letters and merges.
std::string tiny_tokenizer_model();

}  // namespace foretell::testing
