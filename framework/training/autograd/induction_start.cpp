#include "framework/training/autograd/induction_start.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/model/rope.h"

namespace foretell::autograd {
namespace {

constexpr std::int64_t kLookBack = 4;       // places
constexpr std::int64_t kMatched = 3;        // tokens that a search compares: the current one and what is before it
constexpr std::int64_t kFastPairs = 8;      // of a head's rotated pairs: they tell places apart
constexpr double kReach = 512;              // tokens, over which a slow pair turns by about one radian at most
constexpr double kConstant = 0.16;          // of the coordinate that is the same for every token
constexpr double kCode = 0.04;              // of a code's coordinates, against 0.02 of others
constexpr double kSharp = 0.84;             // looking back: the place next to the right one gets exp(-5) of its weight
constexpr double kRead = 0.25, kPut = 0.2;  // a slot's values about twice a code's
constexpr double kMatch = 1.4;              // the score of a matched token is about 8
constexpr double kTake = 0.5, kGive = 0.45;

class Wiring {
 public:
  Wiring(const formats::ModelConfig& config, std::span<const NamedWeight> weights)
      : config_(config), weights_(weights) {
    if (config.naming == formats::WeightNaming::Gpt2) fail("init: induction is for models with rotary positions");
    frequencies_ = model::rope_frequencies(config);
    dim_ = config.head_dim;
    half_ = dim_ / 2;
    group_ = config.num_heads / config.num_kv_heads;
    slow_ = std::count_if(frequencies_.begin(), frequencies_.end(), [](double f) { return f * kReach <= 1.1; });
    code_ = 2 * slow_ / kMatched;
    const bool room = config.num_layers >= 2 && config.num_heads >= kLookBack &&
                      half_ == static_cast<std::int64_t>(frequencies_.size()) && half_ > kFastPairs && code_ >= 6 &&
                      config.hidden_size >= slot(kLookBack + 1) + dim_;
    if (!room) {
      fail(
          "init: induction needs two layers, {} heads of which every pair is rotated ({} of {} turn slowly enough to "
          "tell {} tokens "
          "apart; at "
          "least 9 must), and a hidden size of at least {}",
          kLookBack, slow_, counted(half_, "pair"), kMatched, slot(kLookBack + 1) + dim_);
    }
  }

  void run() const {
    clear_slots();
    write_codes();
    look_back();
    search_and_copy();
  }

 private:
  // The first coordinate of the slot for what is `places` back; 0: the token's own code.
  std::int64_t slot(std::int64_t places) const { return 1 + places * code_; }
  std::int64_t slots_end() const { return slot(kLookBack + 1); }

  at::Tensor weight(const std::string& name) const {
    const auto found =
        std::find_if(weights_.begin(), weights_.end(), [&](const NamedWeight& w) { return w.spec.name == name; });
    FORETELL_CHECK(found != weights_.end(), "{}", name);
    return found->value;
  }
  at::Tensor weight(int layer, const char* part) const {
    return weight(formats::layer_weight_name(config_.naming, layer, fmt::format("{}.weight", part)));
  }

  // What the names of an MLP's matrices begin with; of each expert's.
  std::vector<std::string> mlp_stems(int layer) const {
    if (!config_.is_sparse(layer)) return {"mlp."};
    std::vector<std::string> stems;
    stems.reserve(static_cast<std::size_t>(config_.moe.experts));
    for (int expert = 0; expert < config_.moe.experts; ++expert)
      stems.push_back(fmt::format("{}experts.{}.", formats::expert_names(config_.naming).block, expert));
    return stems;
  }

  // What is wired keeps these coordinates to itself at the start.
  void clear_slots() const {
    for (int layer = 0; layer < config_.num_layers; ++layer) {
      for (const char* part : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"})
        weight(layer, part).narrow(1, 0, slots_end()).zero_();
      weight(layer, "self_attn.o_proj").narrow(0, 0, slots_end()).zero_();
      for (const std::string& stem : mlp_stems(layer)) {
        const formats::ExpertNames names = formats::expert_names(config_.naming);
        const bool expert = config_.is_sparse(layer);
        for (const char* part : {expert ? names.gate : "gate_proj", expert ? names.up : "up_proj"})
          weight(layer, (stem + part).c_str()).narrow(1, 0, 1).zero_();
        weight(layer, (stem + (expert ? names.down : "down_proj")).c_str()).narrow(0, 0, slots_end()).zero_();
      }
      if (config_.is_sparse(layer))
        weight(layer, fmt::format("{}gate", formats::expert_names(config_.naming).block).c_str())
            .narrow(1, 0, 1)
            .zero_();
    }
  }

  void write_codes() const {
    const at::Tensor embedding = weight("model.embed_tokens.weight");
    embedding.select(1, 0).fill_(kConstant);
    const at::Tensor codes = embedding.narrow(1, slot(0), code_);
    codes.copy_(codes.sign() * kCode);
  }

  void clear_groups(int layer, std::int64_t groups) const {
    weight(layer, "self_attn.q_proj").narrow(0, 0, groups * group_ * dim_).zero_();
    weight(layer, "self_attn.k_proj").narrow(0, 0, groups * dim_).zero_();
    weight(layer, "self_attn.v_proj").narrow(0, 0, groups * dim_).zero_();
    weight(layer, "self_attn.o_proj").narrow(1, 0, groups * group_ * dim_).zero_();
  }

  // Keys are the same for all tokens and a query is the key turned back by some places, so that a score depends on the
  // distance alone.
  void look_back() const {
    const std::int64_t groups = (kLookBack + group_ - 1) / group_;
    clear_groups(0, groups);
    const at::Tensor query = weight(0, "self_attn.q_proj"), key = weight(0, "self_attn.k_proj"),
                     value = weight(0, "self_attn.v_proj"), output = weight(0, "self_attn.o_proj");
    for (std::int64_t g = 0; g < groups; ++g) {
      for (std::int64_t i = 0; i < kFastPairs; ++i) key[g * dim_ + i][0] = kSharp;
      for (std::int64_t i = 0; i < code_; ++i) value[g * dim_ + i][slot(0) + i] = kRead;
    }
    for (std::int64_t head = 0; head < kLookBack; ++head) {
      const std::int64_t places = head + 1;
      for (std::int64_t i = 0; i < kFastPairs; ++i) {
        query[head * dim_ + i][0] = kSharp * std::cos(static_cast<double>(places) * frequencies_[i]);
        query[head * dim_ + half_ + i][0] = -kSharp * std::sin(static_cast<double>(places) * frequencies_[i]);
      }
      for (std::int64_t i = 0; i < code_; ++i) output[slot(places) + i][head * dim_ + i] = kPut;
    }
  }

  // The first head compares the current token and the two before it with the three before a place; the group's other
  // heads leave the current token out, so that they find what stood after the words before, whatever stands between.
  void search_and_copy() const {
    clear_groups(1, 1);
    const at::Tensor query = weight(1, "self_attn.q_proj"), key = weight(1, "self_attn.k_proj"),
                     value = weight(1, "self_attn.v_proj"), output = weight(1, "self_attn.o_proj");
    const std::int64_t first = half_ - slow_;
    for (std::int64_t part = 0; part < kMatched; ++part) {
      for (std::int64_t i = 0; i < code_; ++i) {
        const std::int64_t number = part * code_ + i;
        const std::int64_t at = number < slow_ ? first + number : half_ + first + (number - slow_);
        key[at][slot(part + 1) + i] = kMatch;
        for (std::int64_t head = 0; head < group_; ++head) {
          if (part == 0 && head > 0) continue;
          query[head * dim_ + at][slot(part) + i] =
              (part == 0 ? 2 : 1) * kMatch;  // a code is half as large as a slot's copy of it
        }
      }
    }
    const std::int64_t last = config_.hidden_size - dim_;
    for (std::int64_t i = 0; i < dim_; ++i) {
      value[i][last + i] = kTake;
      for (std::int64_t head = 0; head < group_; ++head) output[last + i][head * dim_ + i] = kGive;
    }
  }

  const formats::ModelConfig& config_;
  std::span<const NamedWeight> weights_;
  std::vector<double> frequencies_;
  std::int64_t dim_ = 0, half_ = 0, group_ = 0;
  std::int64_t slow_ =
      0;  // pairs that hardly turn over the length of a prompt: they compare tokens wherever they stand
  std::int64_t code_ = 0;  // coordinates of a code
};

}  // namespace

void start_with_induction(const formats::ModelConfig& config, std::span<const NamedWeight> weights) {
  Wiring(config, weights).run();
}

}  // namespace foretell::autograd
