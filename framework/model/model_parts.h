// What draft heads and early exits borrow of a model: its embedding, its final norm and its head.
//
// Contract: const, valid as long as the model, and computed as the model's own forward computes them: embed(), the
// layers, final_norm() and head() give forward()'s logits. Tensors are on the model's device and come from inference
// mode: whoever trains on them clones them outside of it.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#include <cstddef>
#include <span>
#include <vector>

#include "framework/core/types.h"
#include "framework/model/linear.h"

namespace foretell::model {

// States to logits: the model's own head, an exit's, a draft head's.
class OutputHead {
 public:
  virtual ~OutputHead() = default;
  virtual at::Tensor logits(const at::Tensor& state) const = 0;  // [rows, hidden] -> float32 [rows, vocab()]
  // Of some tokens alone: float32 [rows, tokens.size()].
  virtual at::Tensor logits_of(const at::Tensor& state, TokenSpan tokens) const = 0;
  virtual int vocab() const = 0;
  virtual std::size_t bytes() const = 0;  // that one product reads
};

class LinearHead final : public OutputHead {
 public:
  LinearHead() = default;
  // `vocab`: ids that padding of the matrix has added behind these do not exist for anybody outside.
  LinearHead(Linear matrix, int vocab) : matrix_(std::move(matrix)), vocab_(vocab) {}

  at::Tensor logits(const at::Tensor& state) const override {
    const c10::InferenceMode inference;
    const at::Tensor all = matrix_.forward_wide(state);
    return matrix_.outputs() == vocab_ ? all : all.narrow(1, 0, vocab_).contiguous();
  }
  at::Tensor logits_of(const at::Tensor& state, TokenSpan tokens) const override {
    const c10::InferenceMode inference;
    const std::vector<std::int64_t> outputs(tokens.begin(), tokens.end());
    return matrix_.forward_some(state, outputs);
  }
  int vocab() const override { return vocab_; }
  std::size_t bytes() const override { return matrix_.bytes(); }
  const Linear& matrix() const { return matrix_; }
  // Rounded to 8 bits, whatever the layers are.
  LinearHead rounded() const { return {matrix_.rounded({}, false), vocab_}; }

 private:
  Linear matrix_;
  int vocab_ = 0;
};

class ModelParts {
 public:
  virtual ~ModelParts() = default;
  // [tokens, hidden], a copy. Learned positions are added at the given ones; without any they are left out. An Error
  // for a token id outside of the vocabulary.
  virtual at::Tensor embed(TokenSpan tokens, std::span<const int> positions) const = 0;
  virtual at::Tensor final_norm(const at::Tensor& state) const = 0;  // [rows, hidden], un-normed
  virtual const OutputHead& head() const = 0;                        // of normed states
  at::Tensor embed(TokenSpan tokens) const { return embed(tokens, {}); }
};

}  // namespace foretell::model
