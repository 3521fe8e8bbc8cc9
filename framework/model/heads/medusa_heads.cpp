#include "framework/model/heads/medusa_heads.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <map>

#include "framework/core/counter_normal.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/core/text.h"
#include "framework/model/heads/head_tensors.h"
#include "framework/model/stored_values.h"

namespace foretell::model::heads {
namespace {

constexpr const char* kHeadsFile = "medusa_lm_head.safetensors";
constexpr std::string_view kPrefix = "medusa_head.";
constexpr int kMostHeads = 64, kMostBlocks = 64;

// "3.0.linear.weight": the numbers in front, and what is behind them.
struct Place {
  int head = 0, block = 0;
  std::string_view part = {};
};
std::optional<Place> place_of(std::string_view name) {
  Place place;
  for (int* number : {&place.head, &place.block}) {
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), *number);
    if (error != std::errc() || *number < 0 || end == name.data() + name.size() || *end != '.') return std::nullopt;
    name.remove_prefix(static_cast<std::size_t>(end - name.data()) + 1);
  }
  place.part = name;
  return place;
}

class Reader {
 public:
  Reader(const HeadFile& file, const LanguageModel& target)
      : file_(file), hidden_(target.config().hidden_size), vocab_(target.config().vocab_size) {
    const at::Tensor sample = target.parts()->embed(Tokens{0});
    options_ = sample.options();
    find();
  }

  int heads() const { return heads_; }
  int blocks() const { return blocks_; }
  bool own_output() const { return own_output_; }
  Linear block(int head, int block) const {
    return linear(get(head, block, "linear.weight", {hidden_, hidden_}), get(head, block, "linear.bias", {hidden_}),
                  {});
  }
  LinearHead output(int head) const {
    return {linear(get(head, blocks_, "weight", {vocab_, hidden_}), {}, {}), vocab_};
  }

 private:
  // What there is, from the names; every tensor has to have its place.
  void find() {
    const auto& tensors = file_.tensors();
    prefixed_ = std::any_of(tensors.begin(), tensors.end(), [](const auto& t) { return t.first.starts_with(kPrefix); });
    int last_block = -1, outputs = 0;
    for (const auto& [name, tensor] : tensors) {
      if (prefixed_ && !name.starts_with(kPrefix)) continue;  // of the model beside
      const auto place = place_of(prefixed_ ? std::string_view(name).substr(kPrefix.size()) : name);
      const bool block = place && (place->part == "linear.weight" || place->part == "linear.bias");
      if (!place || (!block && place->part != "weight") || place->head >= kMostHeads || place->block > kMostBlocks)
        fail(
            "{}: '{}' is no tensor of a Medusa head: expected {{head}}.{{block}}.linear.weight, .linear.bias or "
            "{{head}}.{{blocks}}.weight, at most {} heads of {} blocks",
            file_.name(), printable(name), kMostHeads, kMostBlocks);
      heads_ = std::max(heads_, place->head + 1);
      if (block) last_block = std::max(last_block, place->block);
      outputs += !block;
      ++found_;
    }
    if (heads_ == 0) fail("{}: there is no tensor of a Medusa head, as '0.0.linear.weight'", file_.name());
    blocks_ = last_block + 1;
    own_output_ = outputs > 0;
    const int expected = heads_ * (2 * blocks_ + (own_output_ ? 1 : 0));
    for (int head = 0; head < heads_; ++head) {
      for (int i = 0; i < blocks_; ++i)
        for (const char* part : {"linear.weight", "linear.bias"}) require(head, i, part);
      if (own_output_) require(head, blocks_, "weight");
    }
    if (found_ != expected)
      fail("{}: {} where {} of {} have {}", file_.name(), counted(found_, "tensor"), counted(heads_, "head"),
           counted(blocks_, "block"), expected);
  }

  std::string name(int head, int block, std::string_view part) const {
    return fmt::format("{}{}.{}.{}", prefixed_ ? kPrefix : "", head, block, part);
  }
  const formats::StoredTensor& require(int head, int block, std::string_view part) const {
    const std::string wanted = name(head, block, part);
    const auto found = file_.tensors().find(wanted);
    if (found == file_.tensors().end())
      fail("{}: tensor '{}' is missing: the file names {} of {}{}", file_.name(), wanted, counted(heads_, "head"),
           counted(blocks_, "block"), own_output_ ? " with outputs of their own" : "");
    return found->second;
  }
  at::Tensor get(int head, int block, std::string_view part, std::vector<std::int64_t> shape) const {
    const formats::StoredTensor& stored = require(head, block, part);
    const std::string named = fmt::format("{}: '{}'", file_.name(), name(head, block, part));
    if (stored.shape != shape)
      fail("{} is {}, the target needs {}", named, formats::to_string(stored.shape), formats::to_string(shape));
    return tensor_of(stored, named).to(options_);
  }
  static Linear linear(const at::Tensor& weight, const at::Tensor& bias, const PackOptions& pack) {
    Linear out(weight, bias);
    out.pack(pack);
    return out;
  }

  const HeadFile& file_;
  std::int64_t hidden_;
  int vocab_;
  at::TensorOptions options_;
  bool prefixed_ = false, own_output_ = false;
  int heads_ = 0, blocks_ = 0, found_ = 0;
};

}  // namespace

std::filesystem::path MedusaHeads::file_of(const std::filesystem::path& path) {
  return head_file(path, {kHeadsFile, "model.safetensors"}, "medusa_lm_head.pt");
}

MedusaHeads MedusaHeads::load(const std::filesystem::path& path, std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  const HeadFile file = HeadFile::open(file_of(path));
  const Reader reader(file, *target);
  MedusaHeads out(std::move(target));
  for (int head = 0; head < reader.heads(); ++head) {
    Head& made = out.heads_.emplace_back();
    for (int block = 0; block < reader.blocks(); ++block) made.blocks.push_back(reader.block(head, block));
    if (reader.own_output()) made.output = reader.output(head);
  }
  return out;
}

MedusaHeads MedusaHeads::random(int heads, int blocks, std::uint64_t seed,
                                std::shared_ptr<const LanguageModel> target) {
  const c10::InferenceMode inference;
  const std::int64_t hidden = target->config().hidden_size;
  const at::TensorOptions options = target->parts()->embed(Tokens{0}).options();
  const float deviation = 1.0F / std::sqrt(static_cast<float>(hidden));
  MedusaHeads out(std::move(target));
  for (int head = 0; head < heads; ++head) {
    Head& made = out.heads_.emplace_back();
    for (int block = 0; block < blocks; ++block) {
      const std::uint64_t key = mix64(seed ^ mix64(name_hash(fmt::format("{}.{}", head, block))));
      Linear& matrix = made.blocks.emplace_back(random_tensor({hidden, hidden}, deviation, key).to(options),
                                                random_tensor({hidden}, 0.1F, key + 1).to(options));
      matrix.pack();
    }
  }
  return out;
}

at::Tensor MedusaHeads::logits(int head, const at::Tensor& states) const {
  const c10::InferenceMode inference;
  const Head& of = heads_.at(static_cast<std::size_t>(head));
  at::Tensor x = states;
  for (const Linear& block : of.blocks) x = x.add(mlp_inside(x, block, Activation::Silu, false));
  return of.output ? of.output->logits(x) : target_->parts()->head().logits(x);
}

}  // namespace foretell::model::heads
