#include "framework/model/heads/redrafter_head.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include "framework/core/error.h"

namespace foretell::model::heads {
namespace {

constexpr int kMostRedrafterBlocks = 64;

std::string redrafter_block(int block) { return fmt::format("lm_head.{}.linear", block); }
std::string redrafter_output(const RedrafterShape& shape) { return fmt::format("lm_head.{}.weight", shape.blocks); }

RedrafterShape redrafter_shape(const HeadTensors& tensors, const std::string& name) {
  RedrafterShape shape{0, 0, tensors.contains("rnn_u.weight") || tensors.contains("rnn_w.weight")};
  while (shape.blocks < kMostRedrafterBlocks && tensors.contains(redrafter_block(shape.blocks) + ".weight"))
    ++shape.blocks;
  const auto output = tensors.find(redrafter_output(shape));
  if (output == tensors.end()) fail("{}: tensor '{}' is missing", name, redrafter_output(shape));
  if (output->second.dim() != 2)
    fail("{}: '{}' is {}, expected a matrix", name, output->first, formats::to_string(output->second.sizes().vec()));
  shape.exit = output->second.size(1);
  return shape;
}

}  // namespace

std::vector<HeadTensor> RedrafterHead::tensors_of(const RedrafterShape& shape, const formats::ModelConfig& target) {
  const std::int64_t hidden = target.hidden_size;
  std::vector<HeadTensor> all = {{redrafter_output(shape), {target.vocab_size, shape.exit}}};
  const auto add = [&](const std::string& stem, std::int64_t outputs, std::int64_t inputs) {
    all.push_back({stem + ".weight", {outputs, inputs}});
    all.push_back({stem + ".bias", {outputs}});
  };
  if (shape.exit != 2 * hidden) add("input_proj", shape.exit, 2 * hidden);
  for (int block = 0; block < shape.blocks; ++block) add(redrafter_block(block), shape.exit, shape.exit);
  if (!shape.rnn) return all;
  add("rnn_u", hidden, hidden);
  all.push_back({"rnn_w.weight", {hidden, hidden}});
  return all;
}

std::filesystem::path RedrafterHead::file_of(const std::filesystem::path& folder) {
  return head_file(folder, {"model.safetensors"}, "pytorch_model.bin");
}

RedrafterHead RedrafterHead::load(const std::filesystem::path& folder, std::shared_ptr<const LanguageModel> target) {
  const HeadFile file = HeadFile::open(file_of(folder));
  const HeadTensors tensors = file.load(is_rotary_buffer);
  return made_of(redrafter_shape(tensors, file.name()), tensors, file.name(), std::move(target));
}

// What reaches the output is near the newest token's embedding, and the output is the target's, so that a target with
// random weights agrees with it now and then; all else is noise beside.
RedrafterHead RedrafterHead::random(std::uint64_t seed, std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  const std::int64_t hidden = target->config().hidden_size;
  const RedrafterShape shape{1, hidden, true};
  HeadTensors tensors = random_tensors(tensors_of(shape, target->config()), seed, 0.3F);
  tensors["rnn_w.weight"].diagonal().add_(embedding_scale(*target));
  tensors["input_proj.weight"].narrow(1, hidden, hidden).diagonal().add_(1);
  tensors[redrafter_output(shape)] = output_matrix(*target);
  return made_of(shape, tensors, "a random head", std::move(target));
}

RedrafterHead RedrafterHead::made_of(const RedrafterShape& shape, const HeadTensors& tensors, const std::string& name,
                                     std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  const formats::ModelConfig& config = target->config();
  const NamedTensors named(tensors, tensors_of(shape, config), name, "a ReDrafter head", *target);
  RedrafterHead out;
  out.rnn_ = shape.rnn;
  out.projected_ = shape.exit != 2 * std::int64_t{config.hidden_size};
  if (out.projected_) out.input_ = named.linear({"input_proj"});
  if (shape.rnn) {
    out.token_ = named.linear({"rnn_w"});
    out.state_ = named.linear({"rnn_u"});
  }
  for (int block = 0; block < shape.blocks; ++block) out.blocks_.push_back(named.linear({redrafter_block(block)}));
  out.output_ = LinearHead(named.linear({fmt::format("lm_head.{}", shape.blocks)}), config.vocab_size);
  out.target_ = std::move(target);
  return out;
}

at::Tensor RedrafterHead::start(const at::Tensor& states) const {
  const c10::InferenceMode inference;
  return at::cat({states, at::zeros_like(states)}, 1);
}

PathStep RedrafterHead::step(int, const at::Tensor& path, TokenSpan tokens) const {
  const c10::InferenceMode inference;
  const std::int64_t hidden = path.size(1) / 2;
  const at::Tensor embedded = target_->parts()->embed(tokens), before = path.narrow(1, hidden, hidden).contiguous();
  const at::Tensor state =
      rnn_ ? at::silu(token_.forward(embedded) + state_.forward(before)) : embedded + before.to(embedded.options());
  at::Tensor next = at::cat({path.narrow(1, 0, hidden), state}, 1);
  at::Tensor x = projected_ ? input_.forward(next) : next;
  for (const Linear& block : blocks_) x = x.add(mlp_inside(x, block, Activation::Silu, false));
  return {next, output_.logits(x)};
}

}  // namespace foretell::model::heads
