#include "framework/training/learners/block_learner.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/core/text.h"
#include "framework/io/atomic_file.h"
#include "framework/model/rope.h"
#include "framework/training/autograd/training_ops.h"
#include "framework/training/learners/heads.h"
#include "framework/training/learners/masked_rows.h"
#include "framework/training/settings.h"

namespace foretell::training::learners {
namespace {

using model::heads::MarkovKind;

constexpr std::int64_t kRowsAtOnce = 1024;  // whose logits are in memory

std::string stem_of(int layer) { return fmt::format("layers.{}.", layer); }

// Convolutions start as the identity, the rest as a new layer does.
at::Tensor first_value(const model::heads::HeadTensor& tensor, std::int64_t seed) {
  if (tensor.name.ends_with(".base_kernel")) {
    at::Tensor base = at::zeros(tensor.shape);
    base.select(1, 0).fill_(1);
    return base;
  }
  if (tensor.name.ends_with(".bias") || tensor.name.ends_with("kernel_projection.weight") ||
      tensor.name.starts_with("confidence_head") || tensor.name == "markov_head.markov_w2.weight")
    return at::zeros(tensor.shape);
  if (tensor.shape.size() == 1) return at::ones(tensor.shape);
  return leaf(tensor.shape, 1 / std::sqrt(3.0 * static_cast<double>(tensor.shape.back())), seed, tensor.name).detach();
}

}  // namespace

void BlockLearnerOptions::declare(Parameters& p) {
  target.declare(p);
  p.add("layers", layers, "of the head", {.min = 1, .max = 32});
  p.add("block_size", block_size, "slots of a block, the root among them", {.min = 2, .max = 64});
  p.add("states", states, "how many of the target's layers are read, evenly placed", {.min = 1, .max = 32});
  p.add("layer_ids", layer_ids, "which layers are read, counted from 0; none: evenly placed",
        {.min = -1, .max = 1000, .aliases = {"target_layer_ids"}});
  p.add("mask_token", mask_token, "the id that becomes the mask; none: the last of the vocabulary",
        {.min = 0, .aliases = {"mask_token_id"}});
  p.add("anchors", anchors, "blocks of a conversation in one step",
        {.min = 1, .max = 4096, .aliases = {"num_anchors"}});
  p.add("decay", decay, "level i of a block counts exp(-i / decay)", {.min = 0.1, .max = 1e6});
  p.add("ce", mix.ce, "weight of the cross-entropy of the answers", {.min = 0.0});
  p.add("kl", mix.kl, "weight of the divergence KL(target || draft)", {.min = 0.0});
  p.add("tvd", mix.tvd, "weight of the total variation distance, half the L1 distance", {.min = 0.0});
}

HiddenStateRequest BlockLearner::required_hidden_states() const {
  HiddenStateRequest request = reader_.request();
  request.final_state = true;  // the teacher's
  return request;
}

void BlockLearner::set_up(const LearnerInputs& inputs) {
  const Location& where = options_.target.where;
  if (options_.mix.ce + options_.mix.kl + options_.mix.tvd <= 0)
    fail_at(where, "{}: ce, kl and tvd are all 0: nothing is learned", name());
  target_ = inputs.target;
  save_dtype_ = inputs.settings.run.save_dtype;
  output_ = head_matrix(*target_, where).to(inputs.device);
  const formats::ModelConfig& of = target_->config();
  model::heads::NewBlock wanted{.layers = options_.layers,
                                .block_size = options_.block_size,
                                .mask = {},
                                .layer_ids = {},
                                .states = options_.states};
  for (const int id : options_.layer_ids)
    if (id >= of.num_layers) fail_at(where, "layer_ids: {}, the target has layers 0 to {}", id, of.num_layers - 1);
  wanted.layer_ids = options_.layer_ids;
  if (options_.mask_token) {
    if (*options_.mask_token >= of.vocab_size)
      fail_at(where, "mask_token: {}, the target has ids 0 to {}", *options_.mask_token, of.vocab_size - 1);
    wanted.mask = *options_.mask_token;
  }
  config_ = new_block_config(wanted, of);
  shape(config_);
  config_.layers.dtype = save_dtype_ == "bf16" ? "bfloat16" : "float32";
  reader_ = decoding::heads::StateReader(config_.places);
  frequencies_ = model::rope_frequencies(config_.layers);
  for (const model::heads::HeadTensor& tensor : block_tensors(config_, of))
    if (tensor.required || tensor.name.starts_with("confidence_head"))
      weights_[tensor.name] =
          first_value(tensor, inputs.settings.model.init_seed).to(inputs.device).clone().requires_grad_();
}

std::vector<autograd::TrainParameter> BlockLearner::parameters() const {
  std::vector<autograd::TrainParameter> all;
  for (const auto& [name, value] : weights_)
    all.push_back({name, value, value.dim() == 2 && !name.ends_with("markov_w1.weight")});
  return all;
}

BlockLearner::Blocks BlockLearner::chosen_blocks(const autograd::TrainBatch& batch, bool all) const {
  const at::Tensor weights = next_tokens(batch).weight.to(at::kCPU).contiguous();
  const float* weight = weights.const_data_ptr<float>();
  const std::uint64_t seed = seed_of(batch);
  Blocks out;
  std::vector<std::int64_t> roots;
  for (const autograd::RowGroup& group : batch.groups)
    for (std::int64_t i = 0; i < group.sequences; ++i) {
      const std::int64_t first = group.first_row + i * group.length;
      std::vector<std::int64_t> own;
      for (std::int64_t row = first + (all ? 1 : 0); row < first + group.length; ++row)
        if (all || weight[row] > 0) own.push_back(row);
      if (!all && static_cast<int>(own.size()) > options_.anchors) {
        std::ranges::sort(own, {},
                          [&](std::int64_t row) { return mix64(seed ^ mix64(static_cast<std::uint64_t>(row))); });
        own.resize(static_cast<std::size_t>(options_.anchors));
        std::ranges::sort(own);
      }
      if (own.empty()) continue;
      out.parts.push_back(
          {first, group.length, static_cast<std::int64_t>(roots.size()), static_cast<std::int64_t>(own.size())});
      roots.insert(roots.end(), own.begin(), own.end());
    }
  out.roots = at::tensor(roots, at::kLong).to(batch.tokens.device());
  return out;
}

// DFlash2's convolutions before and behind a sublayer. rows [blocks, slots, hidden].
at::Tensor BlockLearner::between(const std::string& stem, const at::Tensor& rows,
                                 const std::function<at::Tensor(const at::Tensor&)>& sublayer) const {
  if (config_.conv_group == 0) return sublayer(rows);
  const std::int64_t kernel = config_.conv_kernel, groups = rows.size(2) / config_.conv_group;
  const at::Tensor own = at::linear(rows, weight(stem + ".kernel_projection.weight"))
                             .view({rows.size(0), rows.size(1), 2, kernel, groups})
                             .repeat_interleave(config_.conv_group, 4);
  const at::Tensor kernels = own + weight(stem + ".base_kernel");
  const auto convolved = [&](const at::Tensor& in, std::int64_t side) {
    at::Tensor out;
    for (std::int64_t offset = 0; offset < std::min(kernel, rows.size(1)); ++offset) {
      const at::Tensor earlier =
          offset == 0 ? in : at::constant_pad_nd(in.narrow(1, 0, in.size(1) - offset), {0, 0, offset, 0});
      const at::Tensor part = kernels.select(2, side).select(2, offset) * earlier;
      out = offset == 0 ? part : out + part;
    }
    return out;
  };
  return convolved(sublayer(convolved(rows, 0)), 1);
}

at::Tensor BlockLearner::attention(int layer, const at::Tensor& rows, const at::Tensor& context,
                                   const autograd::TrainBatch& batch, const Blocks& blocks) const {
  const std::string stem = stem_of(layer) + "self_attn.";
  const formats::ModelConfig& own = config_.layers;
  const std::int64_t dim = own.head_dim, slots = rows.size(1), copies = own.group_size();
  const at::Tensor flat = rows.reshape({-1, rows.size(2)});
  const at::Tensor slot_positions =
      (batch.positions.index_select(0, blocks.roots).unsqueeze(1) + at::arange(slots, batch.positions.options()))
          .view({-1});
  const auto rotary = [&](const at::Tensor& positions) {
    return autograd::rotary_rows(positions, frequencies_, 1, rows.device());
  };
  const auto heads = [&](const at::Tensor& x, const char* part) {
    return at::linear(x, weight(stem + part)).view({x.size(0), -1, dim});
  };
  const auto normed = [&](const at::Tensor& x, const char* part) {
    return autograd::rms_norm_training(x.reshape({-1, dim}), weight(stem + part), own.norm_eps).view(x.sizes());
  };
  const auto turned = [&](const at::Tensor& x, const autograd::RotaryRows& by) {
    return autograd::rotated_training(x, by, own.rope.interleaved);
  };
  const autograd::RotaryRows by_slot = rotary(slot_positions), by_row = rotary(batch.positions);
  const at::Tensor q = turned(normed(heads(flat, "q_proj.weight"), "q_norm.weight"), by_slot);
  const at::Tensor own_k = turned(normed(heads(flat, "k_proj.weight"), "k_norm.weight"), by_slot);
  const at::Tensor own_v = heads(flat, "v_proj.weight");
  const at::Tensor text_k = turned(normed(heads(context, "k_proj.weight"), "k_norm.weight"), by_row);
  const at::Tensor text_v = heads(context, "v_proj.weight");
  const at::TensorOptions index = batch.positions.options();
  std::vector<at::Tensor> out;
  for (const Blocks::Part& part : blocks.parts) {
    const auto keyed = [&](const at::Tensor& text, const at::Tensor& block) {
      const at::Tensor all = at::cat({text.narrow(0, part.first_row, part.length),
                                      block.narrow(0, part.first * slots, part.count * slots)})
                                 .transpose(0, 1);
      return (copies == 1 ? all : all.repeat_interleave(copies, 0)).unsqueeze(0);
    };
    const at::Tensor roots = blocks.roots.narrow(0, part.first, part.count) - part.first_row;
    const at::Tensor before =
        at::arange(part.length, index).unsqueeze(0).lt(roots.repeat_interleave(slots).unsqueeze(1));
    const at::Tensor block = at::arange(part.count, index).repeat_interleave(slots);
    const at::Tensor seen = at::cat({before, block.unsqueeze(1).eq(block.unsqueeze(0))}, 1);
    const at::Tensor queries = q.narrow(0, part.first * slots, part.count * slots).transpose(0, 1).unsqueeze(0);
    const at::Tensor attended = at::scaled_dot_product_attention(
        queries, keyed(text_k, own_k), keyed(text_v, own_v), seen, 0.0, false, 1 / std::sqrt(static_cast<double>(dim)));
    out.push_back(attended[0].transpose(0, 1).reshape({part.count * slots, own.num_heads * dim}));
  }
  return at::linear(at::cat(out), weight(stem + "o_proj.weight")).view(rows.sizes());
}

at::Tensor BlockLearner::slot_states(const autograd::TrainBatch& batch, const Blocks& blocks) const {
  const formats::ModelConfig& own = config_.layers;
  const std::int64_t slots = config_.block_size, count = blocks.roots.size(0);
  const auto norm = [&](const at::Tensor& x, const std::string& name) {
    return autograd::rms_norm_training(x.reshape({-1, x.size(-1)}), weight(name), own.norm_eps).view(x.sizes());
  };
  const at::Tensor context = norm(at::linear(reader_.joined(batch.target), weight("fc.weight")), "hidden_norm.weight");
  at::Tensor tokens = at::full({count, slots}, config_.mask, batch.tokens.options());
  tokens.select(1, 0).copy_(batch.tokens.index_select(0, blocks.roots));
  at::Tensor x = embedded(*target_, tokens.view({-1})).to(batch.tokens.device()).view({count, slots, -1});
  for (int layer = 0; layer < own.num_layers; ++layer) {
    const std::string stem = stem_of(layer);
    x = x + between(stem + "attention_conv", norm(x, stem + "input_layernorm.weight"),
                    [&](const at::Tensor& rows) { return attention(layer, rows, context, batch, blocks); });
    x = x + between(stem + "mlp_conv", norm(x, stem + "post_attention_layernorm.weight"), [&](const at::Tensor& rows) {
          const at::Tensor up =
              at::linear(rows.reshape({-1, rows.size(2)}),
                         at::cat({weight(stem + "mlp.gate_proj.weight"), weight(stem + "mlp.up_proj.weight")}));
          return at::linear(autograd::gated_training(up, own.activation), weight(stem + "mlp.down_proj.weight"))
              .view(rows.sizes());
        });
  }
  return norm(x, "norm.weight");
}

// What each level's bias is made of. slots [blocks, levels, hidden], previous [blocks, levels] -> [blocks, levels,
// rank]
at::Tensor BlockLearner::markov_states(const at::Tensor& slots, const at::Tensor& previous) const {
  const std::int64_t rank = config_.markov_rank;
  at::Tensor token = weight("markov_head.markov_w1.weight")
                         .index_select(0, previous.reshape({-1}))
                         .view({previous.size(0), previous.size(1), rank});
  if (config_.markov == MarkovKind::Vanilla) return token;
  if (config_.markov == MarkovKind::Gated)
    return at::linear(at::cat({slots, token}, 2), weight("markov_head.gate_proj.weight")).sigmoid() * token;
  at::Tensor state = at::zeros({slots.size(0), rank}, slots.options());
  std::vector<at::Tensor> out;
  for (std::int64_t level = 0; level < slots.size(1); ++level) {
    const at::Tensor joint = at::linear(at::cat({state, token.select(1, level), slots.select(1, level)}, 1),
                                        weight("markov_head.joint_proj.weight"));
    const at::Tensor gate = joint.narrow(1, 0, rank).sigmoid();
    state = gate * state + (1 - gate) * joint.narrow(1, rank, rank).tanh();
    out.push_back(joint.narrow(1, 2 * rank, rank).tanh());
  }
  return at::stack(out, 1);
}

BlockLearner::Levels BlockLearner::levels_of(const autograd::TrainBatch& batch, const Blocks& blocks) const {
  const std::int64_t levels = config_.levels(), count = blocks.roots.size(0);
  const at::Tensor slots = slot_states(batch, blocks).narrow(1, config_.from_anchor ? 0 : 1, levels);
  const at::TensorOptions index = batch.positions.options();
  const at::Tensor level = at::arange(levels, index);
  const NextTokens next = next_tokens(batch);
  // Rows behind the end of a sequence are another one's.
  const at::Tensor row = blocks.roots.unsqueeze(1) + level;
  const at::Tensor teacher = row.clamp_max(batch.tokens.size(0) - 1);
  const at::Tensor expected = batch.positions.index_select(0, blocks.roots).unsqueeze(1) + level;
  const auto by_row = [&](const at::Tensor& of) {
    return of.index_select(0, teacher.view({-1})).view(teacher.sizes());
  };
  const at::Tensor inside = row.eq(teacher).logical_and(by_row(batch.positions).eq(expected));
  Levels out;
  const at::Tensor previous = by_row(batch.tokens);
  if (config_.markov != MarkovKind::None)
    out.markov = markov_states(slots, previous).reshape({count * levels, config_.markov_rank});
  out.state = slots.reshape({count * levels, slots.size(2)});
  out.previous = previous.view({-1});
  out.teacher = teacher.view({-1});
  const at::Tensor token = by_row(next.token);
  out.targets = at::where(inside, token, at::full_like(token, -1)).view({-1});
  const at::Tensor decay = (level.to(at::kFloat) * (-1 / options_.decay)).exp();
  out.weights = (by_row(next.weight) * inside * decay).view({-1});
  return out;
}

at::Tensor BlockLearner::output_matrix() const {
  if (config_.markov == MarkovKind::None) return output_;
  return at::cat({output_, weight("markov_head.markov_w2.weight")}, 1);
}

at::Tensor BlockLearner::output_states(const Levels& levels) {
  return levels.markov.defined() ? at::cat({levels.state, levels.markov}, 1) : levels.state;
}

autograd::TrainLoss BlockLearner::loss(const autograd::TrainBatch& batch) const {
  Levels all = levels_of(batch, chosen_blocks(batch, false));
  const at::Tensor known = all.targets.ge(0).nonzero().view({-1});
  for (at::Tensor* of : {&all.state, &all.markov, &all.previous, &all.teacher, &all.targets, &all.weights})
    if (of->defined()) *of = of->index_select(0, known);
  // A mean over the levels, as much of it as this batch is of its step.
  const double share = batch.weights.sum().item<double>() / batch.normaliser;
  const double sum = std::max(all.weights.sum().item<double>(), 1e-6);
  all.weights = all.weights * (share / sum);
  const autograd::DistillLoss said =
      autograd::distill_loss_training(output_states(all), output_matrix(), all.targets, all.weights,
                                      {batch.target.final_state.index_select(0, all.teacher), output_}, options_.mix);
  const auto term = [](double value) { return at::scalar_tensor(value, at::kDouble); };
  autograd::TrainLoss out{said.total,
                          {{"loss", {}},
                           {"loss.ce", term(said.terms.ce)},
                           {"loss.kl", term(said.terms.kl)},
                           {"loss.tvd", term(said.terms.tvd)}}};
  if (const at::Tensor more = more_loss(batch, all, out.terms); more.defined()) out.total = out.total + more;
  out.terms[0].value = out.total.detach();
  return out;
}

at::Tensor BlockLearner::best_tokens(const Levels& levels) const {
  const at::Tensor states = output_states(levels), matrix = output_matrix();
  std::vector<at::Tensor> out;
  for (std::int64_t first = 0; first < states.size(0); first += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, states.size(0) - first);
    const at::Tensor logits = at::linear(states.narrow(0, first, count), matrix);
    if (config_.selector_rank == 0) {
      out.push_back(logits.argmax(-1));
      continue;
    }
    const auto [value, candidates] = logits.topk(std::min<std::int64_t>(config_.selector_top_k, logits.size(1)));
    const at::Tensor hidden =
        at::linear(levels.state.narrow(0, first, count), weight("candidate_selector.hidden_projection.weight"));
    const at::Tensor before =
        weight("candidate_selector.predecessor_codebook").index_select(0, levels.previous.narrow(0, first, count));
    const at::Tensor pairs = weight("candidate_selector.successor_codebook")
                                 .index_select(0, candidates.view({-1}))
                                 .view({count, candidates.size(1), -1});
    const at::Tensor best = (value + (pairs * (before * hidden).unsqueeze(1)).sum(-1)).argmax(-1, true);
    out.push_back(candidates.gather(1, best).view({-1}));
  }
  return at::cat(out);
}

at::Tensor BlockLearner::draft_hits(const autograd::TrainBatch& batch, int depth) const {
  const c10::NoGradGuard no_grad;
  const Blocks blocks = chosen_blocks(batch, true);
  const Levels levels = levels_of(batch, blocks);
  const std::int64_t each = config_.levels();
  const at::Tensor hit =
      at::where(levels.targets.lt(0), levels.targets, best_tokens(levels).eq(levels.targets).to(at::kLong))
          .view({-1, each});
  std::vector<at::Tensor> hits;
  for (std::int64_t level = 0; level < std::min<std::int64_t>(depth, each); ++level) {
    at::Tensor own = at::full_like(batch.tokens, -1);
    own.index_copy_(0, blocks.roots - 1, hit.select(1, level));  // row t stands for the block whose root follows it
    hits.push_back(own);
  }
  return at::stack(hits);
}

void BlockLearner::save(const std::filesystem::path& folder) const {
  std::vector<std::pair<std::string, at::Tensor>> list(weights_.begin(), weights_.end());
  write_head(folder / "model.safetensors", list, save_dtype_);
  io::write_file(folder / "config.json", block_config_json(config_, target_->config()));
}

std::optional<DraftedBy> BlockLearner::drafter(const std::filesystem::path& folder, int depth) const {
  ConfigValue section = drafter_section(name(), std::min(depth, config_.levels()));
  section.set("head", ConfigValue::scalar(folder.string(), {}, true));
  return DraftedBy{section, {}};
}

std::string BlockLearner::description() const {
  return fmt::format(
      "A {} head of {:.2f} million parameters ({} of hidden size {}, blocks of {} slots) on the states of a target",
      name(), static_cast<double>(parameter_count()) / 1e6, counted(config_.layers.num_layers, "layer"),
      config_.layers.hidden_size, config_.block_size);
}

}  // namespace foretell::training::learners
