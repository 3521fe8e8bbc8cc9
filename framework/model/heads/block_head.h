// A head that drafts a block of tokens in one forward: DFlash (2026), with the parts that DFlash2 and DSpark add.
//
// Contract: const and safe to share. The target's states of the text become one row a position, hidden_norm(W_c s);
// each layer's keys and values of these rows are all that the head's cache holds. A block is the root token and masks:
// its slots see the whole text before the root and each other (causally in layers that say so), and what they say is
// lost when the next block comes. Slot k of a block at position n stands at n + k and speaks of the token there; where
// the config says so (from_anchor), of the token behind it. logits() are independent of the other slots' tokens;
// conditional() heads then correct them by the tokens before: DSpark's Markov head adds a bias, DFlash2's selector
// leaves `selector_top_k` candidates and scores them by pairs.
//
// Files are read in the published layouts (block_config.h): fc.weight, hidden_norm.weight, norm.weight,
// layers.{i}.self_attn.{q,k,v,o}_proj.weight, .{q,k}_norm.weight, layers.{i}.mlp.{gate,up,down}_proj.weight, the two
// norms; embed_tokens.weight, lm_head.weight, d2t and t2d where the head has them, else the target's are used;
// layers.{i}.{attention,mlp}_conv.{base_kernel,kernel_projection.weight} and candidate_selector.* of DFlash2,
// markov_head.* and confidence_head.proj.* of DSpark.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/model/heads/block_config.h"
#include "framework/model/heads/head_tensors.h"
#include "framework/model/heads/state_places.h"
#include "framework/model/language_model.h"

namespace foretell::model::heads {

// What a head of a config has in its file.
std::vector<HeadTensor> block_tensors(const BlockConfig& config, const formats::ModelConfig& target);

// Untrained ones.
HeadTensors random_block_tensors(const BlockConfig& config, std::uint64_t seed, const formats::ModelConfig& target);

// Rows of the target's states to be added to a sequence's cache, behind those that it holds.
struct ContextItem {
  KvCache* cache;
  at::Tensor rows;  // of BlockHead::context()
};
struct BlockItem {
  KvCache* cache;  // with a row for each position before the root's
  Token root;
  int slots;
};

class BlockHead {
 public:
  static std::filesystem::path file_of(const std::filesystem::path& folder);
  static BlockHead load(const std::filesystem::path& folder, std::shared_ptr<const LanguageModel> target);
  // `ids`: the target's by id of the head; empty: the same.
  static BlockHead made_of(const BlockConfig& config, const HeadTensors& tensors, Tokens ids, const std::string& name,
                           std::shared_ptr<const LanguageModel> target);
  // Untrained.
  static BlockHead random(const BlockConfig& config, std::uint64_t seed, std::shared_ptr<const LanguageModel> target);

  const BlockConfig& config() const { return config_; }
  int context_length() const { return config_.layers.context; }
  std::span<const Token> target_ids() const { return ids_; }  // of the head's own vocabulary; empty: the target's
  std::unique_ptr<KvCache> make_cache(int capacity) const;

  at::Tensor context(const at::Tensor& states) const;  // [rows, places * hidden of the target] -> [rows, hidden]
  void store(std::span<const ContextItem> batch) const;
  // The normed states of all slots, [all slots, hidden].
  at::Tensor forward(std::span<const BlockItem> batch) const;
  at::Tensor logits(const at::Tensor& states) const;  // float32 [rows, vocab of the head]

  bool conditional() const { return selector_ || config_.markov != MarkovKind::None; }
  // The logits of one row when these tokens, the root first, stand before it; `states` are those of their slots, the
  // last one that of the row. base and the result: float32 [vocab].
  at::Tensor corrected(const at::Tensor& base, TokenSpan before, const at::Tensor& states) const;
  // How likely the row's token is to be accepted, as the head was trained to say; 1 where it was not.
  double confidence(TokenSpan before, const at::Tensor& states) const;

 private:
  struct Convolution {
    at::Tensor base;  // [2, kernel, hidden]
    Linear projection;
    std::int64_t group = 1;
    // The kernels of each row, [rows, 2, kernel, hidden].
    at::Tensor kernels(const at::Tensor& rows) const;
  };
  struct Layer {
    DecoderLayer attention;
    Norm attention_norm, mlp_norm;
    Linear up, down;
    std::optional<Convolution> attention_conv = {}, mlp_conv = {};
  };
  struct Selector {
    Linear projection;
    at::Tensor predecessors, successors;  // [vocab, rank]
  };

  BlockHead() = default;
  void take_markov(const NamedTensors& named);
  at::Tensor embed(TokenSpan tokens) const;
  at::Tensor markov_state(TokenSpan before, const at::Tensor& states) const;  // [1, rank]: what the bias is made of
  at::Tensor previous(Token token) const;                                     // [1, rank]

  BlockConfig config_;
  std::shared_ptr<const LanguageModel> target_;
  at::TensorOptions options_;
  std::vector<double> frequencies_;
  double magnitude_ = 1;
  Linear fc_;
  Norm hidden_norm_, norm_;
  std::vector<Layer> layers_;
  at::Tensor embedding_;            // undefined: the target's
  std::optional<LinearHead> head_;  // none: the target's
  Tokens ids_;
  std::optional<Selector> selector_;
  at::Tensor markov_tokens_;  // [vocab, rank]
  Linear markov_bias_, markov_gate_;
  std::optional<Linear> confidence_;
};

}  // namespace foretell::model::heads
