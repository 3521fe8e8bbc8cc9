#include "framework/tokenizers/train_tokenizer.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "framework/core/error.h"
#include "framework/tokenizers/stages/byte_level.h"
#include "framework/unicode/regex.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers {
namespace {

constexpr const char* kWordPattern = R"( ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+)";
constexpr int kBytes = 256;

using Counts = std::map<std::string, std::size_t>;  // in byte-level characters; ordered, so that the library sees the
                                                    // same input every time

Counts count_words(const std::vector<std::string>& texts) {
  const unicode::Regex words(kWordPattern, "the tokenizer's words");
  Counts counts;
  for (const std::string& text : texts)
    for (const unicode::TextRange range : words.find_all(text))
      ++counts[tokenizers::stages::byte_level::to_characters(text.substr(range.begin, range.end - range.begin))];
  return counts;
}

class WordIterator final : public sentencepiece::SentenceIterator {
 public:
  explicit WordIterator(const Counts& counts) : next_(counts.begin()), end_(counts.end()) { write(); }
  bool done() const override { return next_ == end_; }
  void Next() override {
    ++next_;
    write();
  }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void write() {
    if (next_ != end_) line_ = fmt::format("{}\t{}", next_->first, next_->second);
  }
  Counts::const_iterator next_, end_;
  std::string line_;
};

std::vector<std::string> byte_characters() {
  std::vector<std::string> all;
  for (int byte = 0; byte < kBytes; ++byte)
    all.push_back(tokenizers::stages::byte_level::to_characters(std::string(1, static_cast<char>(byte))));
  return all;
}

// Whole pieces as the library found them, in the order of their merges; single characters are left out.
std::vector<std::string> learn_pieces(const Counts& counts, int merges) {
  std::string characters;
  for (const std::string& character : byte_characters()) characters += character;
  WordIterator words(counts);
  std::string model;
  // One more for the library's own unknown token. Words are cut already, so none of its own ways to cut them is on.
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      std::unordered_map<std::string, std::string>{{"model_type", "bpe"},
                                                   {"vocab_size", std::to_string(merges + kBytes + 1)},
                                                   {"hard_vocab_limit", "false"},
                                                   {"input_format", "tsv"},
                                                   {"required_chars", characters},
                                                   {"character_coverage", "1.0"},
                                                   {"normalization_rule_name", "identity"},
                                                   {"add_dummy_prefix", "false"},
                                                   {"remove_extra_whitespaces", "false"},
                                                   {"split_by_unicode_script", "false"},
                                                   {"split_by_number", "false"},
                                                   {"split_by_whitespace", "false"},
                                                   {"max_sentencepiece_length", "64"},
                                                   {"bos_id", "-1"},
                                                   {"eos_id", "-1"},
                                                   {"pad_id", "-1"},
                                                   {"num_threads", "1"},
                                                   {"minloglevel", "2"}},
      &words, &model);
  if (!status.ok()) fail("the tokenizer could not be trained: {}", status.ToString());
  sentencepiece::SentencePieceProcessor processor;
  const auto loaded = processor.LoadFromSerializedProto(model);
  if (!loaded.ok()) fail("the tokenizer could not be trained: {}", loaded.ToString());
  std::vector<std::string> pieces;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const std::string& piece = processor.IdToPiece(id);
    if (!processor.IsUnknown(id) && unicode::to_utf32(piece).size() > 1) pieces.push_back(piece);
  }
  return pieces;
}

// The two halves that the earlier merges leave of a piece: the library's file names only the whole.
class MergeFinder {
 public:
  std::pair<std::string, std::string> add(const std::string& piece) {
    std::vector<std::string> parts;
    for (const char32_t c : unicode::to_utf32(piece)) unicode::append(parts.emplace_back(), c);
    while (parts.size() > 2) {
      std::size_t best = parts.size(), best_rank = ranks_.size();
      for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
        const auto found = ranks_.find({parts[i], parts[i + 1]});
        if (found != ranks_.end() && found->second < best_rank) best = i, best_rank = found->second;
      }
      FORETELL_CHECK(best < parts.size(), "the piece '{}' is not made of earlier ones", piece);
      parts[best] += parts[best + 1];
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    const std::pair<std::string, std::string> merge{parts[0], parts[1]};
    ranks_.emplace(merge, ranks_.size());
    return merge;
  }

 private:
  std::map<std::pair<std::string, std::string>, std::size_t> ranks_;
};

nlohmann::ordered_json added_token(int id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

}  // namespace

std::string train_tokenizer(const std::vector<std::string>& texts, const TokenizerTraining& training) {
  const int least = kBytes + static_cast<int>(training.special_tokens.size());
  if (training.vocab_size <= least)
    fail("a vocabulary of {} has no room for merges: {} bytes and {} special tokens come first", training.vocab_size,
         kBytes, training.special_tokens.size());
  const Counts counts = count_words(texts);
  if (counts.empty()) fail("there is no text to train a tokenizer on");

  nlohmann::ordered_json added = nlohmann::ordered_json::array(), vocab = nlohmann::ordered_json::object(),
                         merges = nlohmann::ordered_json::array();
  int id = 0;
  for (const std::string& token : training.special_tokens) {
    added.push_back(added_token(id, token));
    vocab[token] = id++;
  }
  for (const std::string& character : byte_characters()) vocab[character] = id++;
  MergeFinder finder;
  for (const std::string& piece : learn_pieces(counts, training.vocab_size - least)) {
    if (id == training.vocab_size) break;
    const auto [left, right] = finder.add(piece);
    merges.push_back(left + " " + right);
    vocab[piece] = id++;
  }

  const nlohmann::ordered_json split = {
      {"type", "Split"}, {"pattern", {{"Regex", kWordPattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  const nlohmann::ordered_json bytes = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  const nlohmann::ordered_json model = {{"type", "BPE"},
                                        {"dropout", nullptr},
                                        {"unk_token", nullptr},
                                        {"continuing_subword_prefix", nullptr},
                                        {"end_of_word_suffix", nullptr},
                                        {"fuse_unk", false},
                                        {"byte_fallback", false},
                                        {"vocab", vocab},
                                        {"merges", merges}};
  const nlohmann::ordered_json file = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", nlohmann::ordered_json::array({split, bytes})}}},
      {"post_processor", nullptr},
      {"decoder", bytes},
      {"model", model}};
  return file.dump(1) + "\n";
}

}  // namespace foretell::tokenizers
