// What a model learns from, one row of tokens at a time.
//
// Contract: a source is a pure function of an index, so the order of a run is its indices and a run that was stopped
// goes on where it was. Sources are endless: a finite text comes again in another order. LibTorch-free in meaning:
// tokens in, weights beside them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/chat/chat_template.h"
#include "framework/core/types.h"
#include "framework/datasets/tasks.h"
#include "framework/tokenizers/tokenizer.h"
#include "framework/training/settings.h"

namespace foretell::training {

struct Sample {
  std::string family;          // "" for text
  Tokens tokens;               // at least two
  std::vector<float> weights;  // [tokens] of the loss of predicting each; the first is never predicted
};

class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual Sample sample(std::uint64_t index) const = 0;
};

// A conversation in tokens: 1 on what the model is to answer, up to and including the token that ends an answer,
// `prompt_weight` elsewhere.
struct ConversationWriter {
  std::shared_ptr<const tokenizers::Tokenizer> tokenizer;
  const chat::ChatTemplate* chat;
  double prompt_weight = 0;

  Sample write(const datasets::TaskExample& example) const;
  // The tokens before the answer of turn `turn`; the true answers stand in the turns before it.
  Tokens prompt(const datasets::TaskExample& example, std::size_t turn) const;
};

// The conversation at an index: families are drawn by their shares, one draw for each index.
datasets::TaskExample training_example(const TrainDataSettings& data, std::uint64_t index);

std::unique_ptr<SampleSource> make_task_source(const TrainDataSettings& data, ConversationWriter writer);

// Text files, each followed by the tokenizer's end token, cut into rows of length + 1 tokens that overlap by one, so
// that every token is predicted once; every pass over them has another order. The last part of the rows is held out:
// `heldout_rows` of it at most, spread evenly.
struct TextData {
  std::unique_ptr<SampleSource> source;
  std::vector<Sample> heldout;
};
TextData make_text_data(const TrainDataSettings& data, const tokenizers::Tokenizer& tokenizer, int length,
                        int heldout_rows);

}  // namespace foretell::training
