// A draft model that answers several places in one forward: mask tokens behind the text stand for the tokens that are
// not known yet (PARD, An et al. 2025, arXiv 2504.18583), and in PARD-2 its embeddings know what the target thought.
//
// Contract: plain data, const and safe to share. The model is an ordinary causal one: a mask at position p sees the
// text and the masks before it, and its row is about position p + 1. With a projection, row t reads E(x_t) + scale * (W
// f_{t - 1} + b), f the target's hidden states of `layers` side by side, zero for the first row; all masks of a draft
// read the row of states that its last token reads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/model/heads/head_tensors.h"
#include "framework/model/heads/state_places.h"
#include "framework/model/language_model.h"

namespace foretell::model::heads {

struct MaskDraft {
  std::shared_ptr<const LanguageModel> model;   // in the target's ids
  std::shared_ptr<const LanguageModel> lender;  // of embeddings; only with a projection
  Token mask = 0;
  Linear projection = {};
  bool projects = false;
  double scale = 0;
  std::vector<int> layers = {};  // places of the target's states (state_places.h), in their order

  // [rows, hidden of the draft], of states [rows, width].
  at::Tensor projected(const at::Tensor& states) const;
  at::Tensor embed(TokenSpan tokens) const;
};

// What config.json of such a folder says beside what every model has.
struct MaskDraftConfig {
  std::optional<Token> mask = {};           // pard_token
  bool second = false;                      // spd_type is pard2
  double scale = 0.02;                      // pard2_scale
  bool biased = false;                      // pard2_proj_bias
  std::vector<std::int64_t> layers = {-1};  // pard2_target_layers, as Transformers counts hidden_states
};
MaskDraftConfig parse_mask_draft_config(std::string_view json, const std::string& name);

// Of a folder whose model is loaded already: `own` as it is stored, `aligned` in the target's ids. `mask`: in place of
// the folder's. An Error for a folder that names no mask token, or none that the model has, and for a projection that
// does not fit the target.
struct LoadedDraft {
  std::shared_ptr<const LanguageModel> own, aligned;
};
MaskDraft load_mask_draft(const std::filesystem::path& folder, const LoadedDraft& loaded, std::optional<Token> mask,
                          const std::shared_ptr<const LanguageModel>& target);
// Without training: the target itself, whose last id is the mask; with a projection of random weights.
MaskDraft untrained_mask_draft(const std::shared_ptr<const LanguageModel>& target, bool second, std::uint64_t seed);

}  // namespace foretell::model::heads
