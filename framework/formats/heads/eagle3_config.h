// config.json of an EAGLE-3 head (Li et al. 2025, arXiv 2503.01840), in the layouts that are published: the authors'
// and SGLang's (a Llama config with draft_vocab_size), speculators' and vLLM's (the layer in transformer_layer_config).
//
// Contract: a plain value. The rotary base is the head's own: 10000 where the file names none, whatever the target's
// is. Which states of the target are read: `eagle_aux_hidden_state_layer_ids` counts the layers that a state has behind
// it, 0 being the embeddings; in `eagle_config` (SGLang) the same key names the layers whose output is read, one less.
// Where a file names none, published heads read three: behind 2, half and all but 3 of the target's layers. What is
// missing or out of range is an Error of one line that names file and key. Torch-free.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/formats/model_config.h"

namespace foretell::formats::heads {

struct Eagle3Config {
  ModelConfig layers;                 // the head's: hidden size, heads, layers; its vocabulary is the target's
  int draft_vocab = 0;                // that it speaks
  int target_hidden = 0;              // of the states that it reads
  std::vector<int> states;            // that it reads, by layers behind them; empty: not named
  bool norm_before_residual = false;  // the stream starts with the normed state
  bool norm_before_fc = false;        // one norm of all states that are read, side by side
  bool fc_norm = false;               // a norm of each of them (EAGLE-3.1)
  bool norm_output = false;           // a draft goes on from the normed state (EAGLE-3.1)
};

Eagle3Config parse_eagle3_config(std::string_view json, const std::string& name);
Eagle3Config load_eagle3_config(const std::filesystem::path& folder);
// That parse_eagle3_config() reads back: the authors' layout, with the flags that differ from it.
std::string eagle3_config_json(const Eagle3Config& config);

// The states that a head of so many reads: those that are named, else the published ones. An Error where the number
// does not fit, or where the target has no such layers.
std::vector<int> read_states(const Eagle3Config& config, int count, int target_layers, const std::string& name);

}  // namespace foretell::formats::heads
