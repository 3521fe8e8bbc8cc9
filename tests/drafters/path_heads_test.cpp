// Heads that draft from the target's last state and the tokens chosen since: their published layouts against the
// formulas, and files that do not fit.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <fstream>

#include "experiments/certify/real_model.h"
#include "framework/model/heads/hydra_heads.h"
#include "framework/model/heads/mlp_speculator.h"
#include "framework/model/heads/redrafter_head.h"
#include "framework/model/stored_values.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

using namespace certify;

constexpr std::int64_t kStateWidth = 32;

void write_tensors(const std::filesystem::path& file, const HeadTensors& tensors) {
  std::vector<NewTensor> list;
  for (const auto& [name, value] : tensors) list.push_back(stored_as(name, value, at::kFloat));
  write_safetensors(file, list);
}

// Random values in the shapes that a head says, as a published file of this width has them.
HeadTensors random_file(const std::vector<HeadTensor>& known) {
  HeadTensors out;
  for (const HeadTensor& tensor : known)
    out[tensor.name] = at::randn(tensor.shape) / (tensor.shape.size() == 2 ? std::sqrt(tensor.shape[1]) : 1.0);
  return out;
}

at::Tensor wide(const HeadTensors& t, const std::string& name) { return t.at(name).to(at::kDouble); }
at::Tensor times(const HeadTensors& t, const at::Tensor& x, const std::string& stem) {
  const at::Tensor out = at::matmul(x, wide(t, stem + ".weight").t());
  return t.contains(stem + ".bias") ? out + wide(t, stem + ".bias") : out;
}
at::Tensor embedding_of(Token token) { return real_target()->parts()->embed(Tokens{token}).to(at::kDouble); }
double far(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST_CASE("hydra: heads in the published layout compute the paper's formula", "[heads]") {
  const c10::InferenceMode inference;
  const TemporaryFolder folder;
  const HydraShape shape{3, 2, false};
  const HeadTensors t = random_file(HydraHeads::tensors_of(shape, real_target()->config()));
  REQUIRE(t.at("hydra_mlp.2.1.res_connection.weight").size(1) == 4 * kStateWidth);
  REQUIRE(t.contains("hydra_mlp.1.3.linear.bias"));
  write_tensors(folder.path() / "hydra_lm_head.safetensors", t);
  const HydraHeads heads = HydraHeads::load(folder.path(), real_target());
  CHECK(heads.deepest() == 3);
  const at::Tensor state = at::randn({1, kStateWidth});
  at::Tensor path = heads.start(state), read = state.to(at::kDouble);
  for (int head = 0; head < 3; ++head) {
    const Token token = 3 + head;
    const PathStep said = heads.step(head, path, Tokens{token});
    path = said.path;
    read = at::cat({read, embedding_of(token)}, 1);
    const std::string stem = fmt::format("hydra_mlp.{}.", head);
    at::Tensor x = times(t, read, stem + "1.res_connection") + at::silu(times(t, read, stem + "1.linear"));
    x = x + at::silu(times(t, x, stem + "3.linear"));
    CHECK(far(said.logits, times(t, x, fmt::format("hydra_lm_head.{}.1", head))) < 1e-4);
  }
}

TEST_CASE("hydra++: the layer in front is Llama's on the target's states, with a norm behind it", "[heads]") {
  const c10::InferenceMode inference;
  const TemporaryFolder folder;
  const HydraShape shape{2, 1, true};
  HeadTensors t = random_file(HydraHeads::tensors_of(shape, real_target()->config()));
  t["prefix_embeding_layer.embed_tokens.weight"] = at::randn({kRealVocab, kStateWidth});  // there, and never read
  write_tensors(folder.path() / "model.safetensors", t);
  const HydraHeads heads = HydraHeads::load(folder.path(), real_target());
  REQUIRE(heads.prefix() != nullptr);
  // A row alone attends to itself: its values go through as they are.
  const at::Tensor state = at::randn({1, kStateWidth});
  const auto cache = heads.prefix()->make_cache(1);
  const ForwardItem item{state, ChainShape{}, cache.get(), LogitRows::None};
  ForwardOptions options;
  options.return_final_state = true;
  const at::Tensor said = heads.prefix()->forward(std::span(&item, 1), options).final_state;
  const auto norm = [&](const at::Tensor& x, const std::string& name) {
    return x / (x.square().mean(-1, true) + 1e-5).sqrt() * wide(t, "prefix_embeding_layer." + name + ".weight");
  };
  const std::string layer = "prefix_embeding_layer.layers.0.";
  at::Tensor x = state.to(at::kDouble);
  const at::Tensor values = times(t, norm(x, "layers.0.input_layernorm"), layer + "self_attn.v_proj");
  x = x + times(t, values.view({2, 1, 8}).expand({2, 2, 8}).reshape({1, kStateWidth}), layer + "self_attn.o_proj");
  const at::Tensor inside = norm(x, "layers.0.post_attention_layernorm");
  x = x + times(t, at::silu(times(t, inside, layer + "mlp.gate_proj")) * times(t, inside, layer + "mlp.up_proj"),
                layer + "mlp.down_proj");
  CHECK(far(said, norm(x, "norm")) < 1e-4);
}

TEST_CASE("mlp_speculator: published files, tied or not, compute the paper's formula", "[heads]") {
  const c10::InferenceMode inference;
  for (const bool tied : {false, true}) {
    const TemporaryFolder folder;
    const MlpSpeculatorConfig config{3, kStateWidth, 24, kRealVocab, tied, tied};
    HeadTensors t = random_file(MlpSpeculator::tensors_of(config, "speculator."));
    if (tied)  // a shared tensor stands in a safetensors file once
      for (const HeadTensor& tensor : MlpSpeculator::tensors_of(config, "speculator."))
        if (!tensor.required) t.erase(tensor.name);
    REQUIRE(t.size() == (tied ? 6 : 15));
    write_tensors(folder.path() / "model.safetensors", t);
    std::ofstream(folder.path() / "config.json") << fmt::format(
        R"({{"architectures": ["MLPSpeculatorPreTrainedModel"], "model_type": "mlp_speculator", "n_predict": 3,
        "emb_dim": 32, "inner_dim": 24, "vocab_size": 16, "n_candidates": 5, "top_k_tokens_per_head": [5, 4, 3],
        "tie_weights": {}, "scale_input": {}}})",
        tied, tied);
    const MlpSpeculator head = MlpSpeculator::load(folder.path(), real_target());
    const auto rms = [](const at::Tensor& x) { return x / (x.square().mean(-1, true) + 1e-6).sqrt(); };
    const at::Tensor state = at::randn({1, kStateWidth});
    at::Tensor path = head.start(state), x = state.to(at::kDouble);
    if (tied) x = rms(x) / std::sqrt(2.0);
    const double state_weight = std::pow(0.5, 0.5 / 3), token = std::sqrt((1 - state_weight * state_weight) * 24 / 2);
    for (int step = 0; step < 3; ++step) {
      const PathStep said = head.step(step, path, Tokens{5 + step});
      path = said.path;
      const auto name = [&](const char* part) {
        return fmt::format("speculator.{}.{}", part, tied ? std::min(step, part == std::string("proj") ? 1 : 0) : step);
      };
      x = times(t, x, name("proj")) + wide(t, name("emb") + ".weight")[5 + step].unsqueeze(0) * (token / state_weight);
      x = at::gelu(rms(x) * wide(t, name("ln") + ".weight") + wide(t, name("ln") + ".bias"));
      CHECK(far(said.logits, times(t, x, name("head"))) < 1e-4);
    }
  }
}

TEST_CASE("redrafter: published files, with matrices in the recurrence or without, compute the formula", "[heads]") {
  const c10::InferenceMode inference;
  for (const RedrafterShape& shape : {RedrafterShape{2, 40, true}, RedrafterShape{1, 2 * kStateWidth, false}}) {
    const TemporaryFolder folder;
    const HeadTensors t = random_file(RedrafterHead::tensors_of(shape, real_target()->config()));
    CHECK(t.contains("input_proj.weight") == shape.rnn);
    write_tensors(folder.path() / "model.safetensors", t);
    const RedrafterHead head = RedrafterHead::load(folder.path(), real_target());
    const at::Tensor given = at::randn({1, kStateWidth});
    at::Tensor path = head.start(given), s = at::zeros({1, kStateWidth}, at::kDouble);
    for (int step = 0; step < 3; ++step) {
      const PathStep said = head.step(step, path, Tokens{5 + step});
      path = said.path;
      s = shape.rnn ? at::silu(times(t, embedding_of(5 + step), "rnn_w") + times(t, s, "rnn_u"))
                    : embedding_of(5 + step) + s;
      at::Tensor x = at::cat({given.to(at::kDouble), s}, 1);
      if (shape.rnn) x = times(t, x, "input_proj");
      for (int block = 0; block < shape.blocks; ++block)
        x = x + at::silu(times(t, x, fmt::format("lm_head.{}.linear", block)));
      CHECK(far(said.logits, times(t, x, fmt::format("lm_head.{}", shape.blocks))) < 1e-4);
    }
  }
}

TEST_CASE("heads on the target's state that do not fit are refused in one line that names the tensor", "[heads]") {
  const auto target = real_target();
  const TemporaryFolder folder;
  const auto hydra = [&](const std::function<void(HeadTensors&)>& change, const std::string& with) {
    HeadTensors t = random_file(HydraHeads::tensors_of({2, 2, true}, target->config()));
    change(t);
    write_tensors(folder.path() / "hydra_lm_head.safetensors", t);
    CHECK_THROWS_WITH(HydraHeads::load(folder.path(), target), Catch::Contains(with) && !Catch::Contains("\n"));
  };
  hydra([](HeadTensors& t) { t.erase("hydra_mlp.1.3.linear.bias"); }, "'hydra_mlp.1.3.linear.bias' is missing");
  hydra([](HeadTensors& t) { t.erase("hydra_lm_head.0.1.bias"); }, "'hydra_lm_head.0.1.bias' is missing");
  hydra([](HeadTensors& t) { t.erase("hydra_mlp.0.1.res_connection.weight"); }, "grounded_heads: false");
  hydra([](HeadTensors& t) { t.erase("prefix_embeding_layer.norm.weight"); }, "'prefix_embeding_layer.norm.weight' is");
  hydra([](HeadTensors& t) { t["hydra_mlp.0.2.linear.weight"] = at::ones({1}); },
        "'hydra_mlp.0.2.linear.weight' is no tensor of a Hydra head");
  hydra([](HeadTensors& t) { t["hydra_mlp.0.99999999999.linear.weight"] = at::ones({1}); }, "is no tensor of a Hydra");
  hydra([](HeadTensors& t) { t["cross_attn.weight"] = at::ones({1}); }, "'cross_attn.weight' is no tensor of a Hydra");
  hydra(
      [](HeadTensors& t) {
        t["hydra_mlp.0.1.linear.weight"] = at::ones({3, 3});
      },
      "'hydra_mlp.0.1.linear.weight' is [3, 3], expected [32, 64]");
  hydra([](HeadTensors& t) { t = {{"norm.weight", at::ones({1})}}; }, "there is no tensor of a Hydra head");
  std::filesystem::remove(folder.path() / "hydra_lm_head.safetensors");
  std::ofstream(folder.path() / "hydra_lm_head.pt") << "PK";
  CHECK_THROWS_WITH(HydraHeads::load(folder.path(), target), Catch::Contains("is a pickle, which is not read"));

  const auto mlp = [&](
                       const std::string& config, const std::string& with,
                       const std::function<void(HeadTensors&)>& change = [](HeadTensors&) {}) {
    HeadTensors t = random_file(MlpSpeculator::tensors_of({2, kStateWidth, 24, kRealVocab, false, false}, ""));
    change(t);
    write_tensors(folder.path() / "model.safetensors", t);
    std::ofstream(folder.path() / "config.json") << config;
    CHECK_THROWS_WITH(MlpSpeculator::load(folder.path(), target), Catch::Contains(with) && !Catch::Contains("\n"));
  };
  const std::string good = R"({"n_predict": 2, "emb_dim": 32, "inner_dim": 24, "vocab_size": 16})";
  mlp(R"({"emb_dim": 32, "vocab_size": 16})", "config.json: 'n_predict' is missing");
  mlp(R"({"n_predict": 2, "emb_dim": 48, "inner_dim": 24, "vocab_size": 16})", "the target's hidden size is 32");
  mlp(R"({"n_predict": 2, "emb_dim": 32, "inner_dim": 24, "vocab_size": 17})", "its vocabulary is 17");
  mlp(R"({"n_predict": 2, "emb_dim": 32, "vocab_size": 16, "method": "sum_lstm"})", "'method' is");
  mlp(R"({"n_predict": 3, "emb_dim": 32, "inner_dim": 24, "vocab_size": 16})", "'emb.2.weight' is missing");
  mlp(R"({"n_predict": 2, "emb_dim": 32, "inner_dim": 0, "vocab_size": 16})", "'emb.0.weight' is [16, 24]");
  mlp(good, "'ln.1.bias' is missing", [](HeadTensors& t) { t.erase("ln.1.bias"); });
  mlp(good, "'forget_emb.0.weight' is no tensor", [](HeadTensors& t) { t["forget_emb.0.weight"] = at::ones({1}); });

  const auto redrafter = [&](const std::function<void(HeadTensors&)>& change, const std::string& with) {
    HeadTensors t = random_file(RedrafterHead::tensors_of({1, 40, true}, target->config()));
    change(t);
    write_tensors(folder.path() / "model.safetensors", t);
    CHECK_THROWS_WITH(RedrafterHead::load(folder.path(), target), Catch::Contains(with) && !Catch::Contains("\n"));
  };
  redrafter([](HeadTensors& t) { t.erase("rnn_u.bias"); }, "tensor 'rnn_u.bias' is missing");
  redrafter([](HeadTensors& t) { t.erase("lm_head.1.weight"); }, "tensor 'lm_head.1.weight' is missing");
  redrafter([](HeadTensors& t) { t["lm_head.1.weight"] = at::ones({16}); }, "'lm_head.1.weight' is [16], expected a");
  redrafter([](HeadTensors& t) { t["lm_head.3.linear.weight"] = at::ones({1}); }, "'lm_head.3.linear.weight' is no");
}

}  // namespace
}  // namespace foretell::testing
