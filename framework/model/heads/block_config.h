// What config.json says of a head that drafts a block at once: DFlash, DFlash2, DSpark.
//
// Contract: three published layouts are one structure: z-lab's (a Qwen3 config with dflash_config), that of DeepSpec
// (the same keys at the top) and that of speculators (transformer_layer_config beside them). Everything is checked
// against the target; an Error names the file and the key.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/core/types.h"
#include "framework/formats/model_config.h"

namespace foretell::model::heads {

enum class MarkovKind { None, Vanilla, Gated, Rnn };

struct BlockConfig {
  formats::ModelConfig layers;  // what the head's own layers are
  int block_size = 0;           // slots, the root among them
  Token mask = 0;
  std::vector<int> places;   // of the target's states (state_places.h), side by side
  bool from_anchor = false;  // the root's slot speaks of the first drafted token, else the first mask's does
  std::vector<char> causal;  // by layer: whether a slot sees those behind it
  double input_scale = 1, output_multiplier = 1;
  std::optional<double> softcap = {};  // of logits: c tanh(x / c)
  int draft_vocab = 0;                 // of a head of its own; 0: none is asked for
  bool own_vocab = false;              // and it is smaller than the target's, or told to be mapped
  // DFlash2
  int conv_group = 0, conv_kernel = 0;        // 0: no convolutions
  int selector_rank = 0, selector_top_k = 0;  // 0: no selector
  // DSpark
  MarkovKind markov = MarkovKind::None;
  int markov_rank = 0;
  bool confidence = false, confidence_reads_markov = false;

  int levels() const { return from_anchor ? block_size : block_size - 1; }
  int target_width(const formats::ModelConfig& target) const {
    return static_cast<int>(places.size()) * target.hidden_size;
  }
};

BlockConfig parse_block_config(std::string_view json, const std::string& name, const formats::ModelConfig& target);

// config.json of a head that was trained here, in z-lab's layout, with DSpark's keys at the top where it has such
// heads.
std::string block_config_json(const BlockConfig& config, const formats::ModelConfig& target);

// The shape of a new head for a target: `layers` layers as wide as the target, with its heads.
struct NewBlock {
  int layers = 2, block_size = 8;
  std::optional<Token> mask = {};   // none: the last id
  std::vector<int> layer_ids = {};  // as z-lab counts them; empty: `states` of them between the second layer and the
                                    // last but two
  int states = 3, window = 0;
  bool from_anchor = false;
};
BlockConfig new_block_config(const NewBlock& shape, const formats::ModelConfig& target);

}  // namespace foretell::model::heads
