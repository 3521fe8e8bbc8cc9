// What the tests of training share: small models, a tokenizer of bytes, a source of samples.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "framework/tokenizers/tokenizer.h"
#include "framework/training/autograd/trainable_transformer.h"
#include "framework/training/batches.h"
#include "framework/training/settings.h"
#include "tests/support/data.h"
#include "tests/support/rooms.h"

namespace foretell::testing {

// Config files of small models of each family; `more` are further keys, or other values.
std::string small_llama(const std::string& more = "");
std::string small_qwen2(const std::string& more = "");
std::string small_gpt2(const std::string& more = "");
std::string small_mixtral(const std::string& more = "");  // two layers of four experts, two a row

// Initialised, with gains and biases that are not at their first values, so that a test sees what they do.
std::shared_ptr<TrainableTransformer> small_model(const std::string& config, std::uint64_t seed = 3);

Sample sample_of(Tokens tokens, float weight = 1);
Tokens counted_tokens(int count, int vocab, int start);  // a repeatable jumble

// 256 bytes and the markers of chatml: 259 ids.
std::string byte_tokenizer_json();
std::shared_ptr<const Tokenizer> byte_tokenizer();

// Sequences that count upwards, modulo `vocab`: soon learned.
class CountingSource final : public SampleSource {
 public:
  CountingSource(int vocab, int length) : vocab_(vocab), length_(length) {}
  Sample sample(std::uint64_t index) const override;

 private:
  int vocab_, length_;
};

}  // namespace foretell::testing
