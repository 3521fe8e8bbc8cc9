// The prediction layer of a checkpoint (multi-token prediction): DeepSeek-V3's own layout, latent attention and experts
// included.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "experiments/certify/checks.h"
#include "experiments/certify/real_model.h"
#include "framework/formats/safetensors.h"
#include "framework/model/heads/prediction_head.h"
#include "framework/model/load_model.h"
#include "framework/model/make_random.h"
#include "framework/model/stored_values.h"
#include "framework/model/transformer.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

using namespace certify;
using model::heads::HeadTensors;
using model::heads::PredictionHead;

constexpr int kOwnLayers = 2;

nlohmann::json deepseek_config(int layers) {
  return {{"model_type", "deepseek_v3"},
          {"architectures", {"DeepseekV3ForCausalLM"}},
          {"vocab_size", 16},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"num_hidden_layers", layers},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 4},
          {"q_lora_rank", 12},
          {"kv_lora_rank", 8},
          {"qk_nope_head_dim", 8},
          {"qk_rope_head_dim", 4},
          {"v_head_dim", 8},
          {"n_routed_experts", 4},
          {"num_experts_per_tok", 2},
          {"n_shared_experts", 1},
          {"moe_intermediate_size", 16},
          {"first_k_dense_replace", 1},
          {"n_group", 1},
          {"topk_group", 1},
          {"norm_topk_prob", true},
          {"routed_scaling_factor", 1.5},
          {"max_position_embeddings", 128},
          {"rms_norm_eps", 1e-6},
          {"tie_word_embeddings", false},
          {"num_nextn_predict_layers", 0},
          {"torch_dtype", "float32"}};
}

void write_checkpoint(const std::filesystem::path& folder, const nlohmann::json& config, const HeadTensors& tensors) {
  std::ofstream(folder / "config.json") << config;
  std::vector<NewTensor> list;
  for (const auto& [name, value] : tensors) list.push_back(stored_as(name, value, at::kFloat));
  write_safetensors(folder / "model.safetensors", list);
}

// A checkpoint of two layers and the prediction layer, which is the third layer of a model that was written before.
struct PublishedLayer {
  TemporaryFolder longer, folder;
  HeadTensors tensors;

  PublishedLayer() {
    std::ofstream(longer.path() / "given.json") << deepseek_config(kOwnLayers + 1);
    model::make_random(longer.path() / "given.json", longer.path(), 3);
    const Checkpoint checkpoint = Checkpoint::open(longer.path());
    for (const auto& [name, stored] : checkpoint.tensors()) tensors[name] = tensor_of(stored, name);
    tensors["model.layers.2.enorm.weight"] = at::randn({32});
    tensors["model.layers.2.hnorm.weight"] = at::randn({32});
    tensors["model.layers.2.eh_proj.weight"] = at::randn({32, 64}) / 8;
    tensors["model.layers.2.shared_head.norm.weight"] = at::randn({32});
    tensors["model.layers.2.embed_tokens.weight"] = at::randn({16, 32});
    tensors["model.layers.2.shared_head.head.weight"] = at::randn({16, 32});
    write_folder(tensors);
  }
  void write_folder(const HeadTensors& all) const {
    nlohmann::json config = deepseek_config(kOwnLayers);
    config["num_nextn_predict_layers"] = 1;
    write_checkpoint(folder.path(), config, all);
  }
};

at::Tensor rms_normed(const at::Tensor& x, const at::Tensor& gain) {
  return x / (x.square().mean(-1, true) + 1e-6).sqrt() * gain;
}

TEST_CASE("DeepSeek-V3's own prediction layer is loaded from the target's checkpoint", "[mtp]") {
  const c10::InferenceMode inference;
  const PublishedLayer published;
  const auto target = model::load_model(published.folder.path(), {});
  REQUIRE(target->config().num_layers == kOwnLayers);
  const Tokens tokens = {3, 1, 4, 1, 5};
  const at::Tensor features = at::randn({5, 32});
  for (const bool own : {true, false}) {
    HeadTensors tensors = published.tensors;
    if (!own) {
      tensors.erase("model.layers.2.embed_tokens.weight");
      tensors.erase("model.layers.2.shared_head.head.weight");
      published.write_folder(tensors);
    }
    const PredictionHead head = PredictionHead::load(published.folder.path(), target);
    const auto& t = tensors;
    at::Tensor embedded = at::zeros({5, 32});
    for (int row = 0; row < 5; ++row)
      embedded[row] = t.at(own ? "model.layers.2.embed_tokens.weight" : "model.embed_tokens.weight")[tokens[row]];
    const at::Tensor fused = at::linear(at::cat({rms_normed(embedded, t.at("model.layers.2.enorm.weight")),
                                                 rms_normed(features, t.at("model.layers.2.hnorm.weight"))},
                                                1),
                                        t.at("model.layers.2.eh_proj.weight"));
    CHECK((head.fuse(tokens, features) - fused).abs().max().item<float>() < 1e-4F);
    // The third layer of the longer model, by itself.
    const auto longer = model::load_model(published.longer.path(), {});
    const auto cache = longer->make_cache(8);
    ForwardOptions options;
    options.layers = LayerRange{2, 3};
    options.aux_states = {3};
    const at::Tensor expected =
        longer->forward({fused, ChainShape{}, cache.get(), LogitRows::None}, options).aux_states[0];
    const auto own_cache = head.make_cache(8);
    const ForwardItem item{head.fuse(tokens, features), ChainShape{}, own_cache.get(), LogitRows::None};
    const at::Tensor said = head.forward(std::span(&item, 1));
    CHECK((said - expected).abs().max().item<float>() < 1e-4F);
    const at::Tensor logits = at::linear(rms_normed(said, t.at("model.layers.2.shared_head.norm.weight")),
                                         t.at(own ? "model.layers.2.shared_head.head.weight" : "lm_head.weight"));
    CHECK((head.logits(said) - logits).abs().max().item<float>() < 1e-3F);
  }
}

TEST_CASE("a prediction layer that does not fit is refused in one line that names the tensor", "[mtp]") {
  const PublishedLayer published;
  const auto target = model::load_model(published.folder.path(), {});
  const auto refused = [&](const HeadTensors& tensors, const std::string& with) {
    published.write_folder(tensors);
    CHECK_THROWS_WITH(PredictionHead::load(published.folder.path(), target),
                      Catch::Contains("model.safetensors") && Catch::Contains(with) && !Catch::Contains("\n"));
  };
  HeadTensors tensors = published.tensors;
  tensors.erase("model.layers.2.hnorm.weight");
  refused(tensors, "tensor 'model.layers.2.hnorm.weight' is missing");
  tensors = published.tensors;
  tensors.erase("model.layers.2.self_attn.kv_b_proj.weight");
  refused(tensors, "tensor 'model.layers.2.self_attn.kv_b_proj.weight' is missing");
  tensors = published.tensors;
  tensors["model.layers.2.self_attn.more.weight"] = at::randn({4});
  refused(tensors, "'model.layers.2.self_attn.more.weight' is no tensor of a prediction layer");
  tensors = published.tensors;
  tensors["model.layers.2.eh_proj.weight"] = at::randn({32, 32});
  refused(tensors, "'eh_proj.weight' is [32, 32], expected [32, 64]");
  tensors = published.tensors;
  std::erase_if(tensors, [](const auto& entry) { return entry.first.starts_with("model.layers.2."); });
  refused(tensors, "there is no prediction layer");
  CHECK_THROWS_WITH(PredictionHead::load(published.longer.path(), real_target()), Catch::Contains("prediction layer"));
}

TEST_CASE("drafts of a prediction layer lose nothing", "[mtp]") {
  for (const auto& [drafter, tree] :
       std::vector<std::pair<const char*, const char*>>{{"{type: mtp, head: random, num_speculative_tokens: 3}", ""},
                                                        {"{type: mtp, head: random, draft_sample_method: top_k}",
                                                         "{type: eagle2, top_k: 2, depth: 2, total_tokens: 4}"}}) {
    INFO(drafter << " " << tree);
    const Setup setup = toy_setup(drafter, "rejection", tree, real_target());
    const ExactFindings found = enumerate(setup, {.prompt = {1, 2, 1, 0}, .tokens = 3, .top_k = 3});
    CHECK(complaint_of(found).value_or("") == "");
    CHECK(found.exercise.accepted > 0);
    CHECK(found.exercise.rejected > 0);
    CHECK(check_real(setup, {.horizon = 64}).value_or("") == "");
  }
  CHECK_THROWS_WITH(toy_setup("mtp", "rejection", "", real_target()).drafter(),
                    Catch::Contains("expected head: FOLDER, or head: random"));
  CHECK_THROWS_WITH(toy_setup("{type: mtp, head: random}", "rejection", "", toy_target()).drafter(),
                    Catch::Contains("it needs a model as target"));
}

}  // namespace
}  // namespace foretell::testing
