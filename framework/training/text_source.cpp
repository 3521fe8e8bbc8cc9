// Text files as rows of tokens.
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/mapped_file.h"
#include "framework/training/samples.h"
#include "framework/training/shuffle.h"

namespace foretell::training {
namespace {

class TextSource final : public SampleSource {
 public:
  TextSource(std::shared_ptr<const Tokens> tokens, std::uint64_t rows, int length, std::uint64_t seed)
      : tokens_(std::move(tokens)), rows_(rows), length_(length), seed_(seed) {}

  Sample sample(std::uint64_t index) const override {
    const std::uint64_t pass = index / rows_;
    return text_row(*tokens_, shuffled(index % rows_, rows_, mix64(seed_ ^ mix64(pass))), length_);
  }

  static Sample text_row(const Tokens& tokens, std::uint64_t row, int length) {
    const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(row) * length;
    Sample sample{"", Tokens(first, first + length + 1),
                  std::vector<float>(static_cast<std::size_t>(length) + 1, 1.0f)};
    sample.weights[0] = 0;
    return sample;
  }

 private:
  std::shared_ptr<const Tokens> tokens_;
  std::uint64_t rows_;
  int length_;
  std::uint64_t seed_;
};

Tokens tokens_of(const std::vector<std::string>& files, const tokenizers::Tokenizer& tokenizer) {
  Tokens tokens;
  for (const std::string& file : files) {
    const Tokens own =
        tokenizer.encode(io::MappedFile::open(file).text(), {.add_special = false, .parse_special = false});
    tokens.insert(tokens.end(), own.begin(), own.end());
    if (const auto eos = tokenizer.eos(); !eos.empty()) tokens.push_back(eos.front());
  }
  return tokens;
}

}  // namespace

TextData make_text_data(const TrainDataSettings& data, const tokenizers::Tokenizer& tokenizer, int length,
                        int heldout_rows) {
  const auto tokens = std::make_shared<const Tokens>(tokens_of(data.files, tokenizer));
  const std::uint64_t rows = tokens->empty() ? 0 : (tokens->size() - 1) / static_cast<std::uint64_t>(length);
  const auto kept = static_cast<std::uint64_t>(static_cast<double>(rows) * data.heldout);
  if (rows - kept < 1)
    fail("data.files: {}, too few for a row of {} to train on", counted(tokens->size(), "token"), length);
  TextData out;
  out.source = std::make_unique<TextSource>(tokens, rows - kept, length, static_cast<std::uint64_t>(data.seed));
  const std::uint64_t shown = std::min<std::uint64_t>(kept, static_cast<std::uint64_t>(heldout_rows));
  for (std::uint64_t i = 0; i < shown; ++i)
    out.heldout.push_back(TextSource::text_row(*tokens, rows - kept + i * kept / shown, length));
  return out;
}

}  // namespace foretell::training
