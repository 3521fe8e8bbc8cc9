// Draft heads padded to a larger shape say behind the inflated target what they said behind the small one.
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include <cmath>

#include "framework/formats/heads/eagle3_config.h"
#include "framework/formats/heads/inflate_head.h"
#include "framework/formats/heads/mlp_speculator_config.h"
#include "framework/formats/inflate.h"
#include "framework/model/heads/eagle3_head.h"
#include "framework/model/heads/eagle_head.h"
#include "framework/model/heads/hydra_heads.h"
#include "framework/model/heads/medusa_heads.h"
#include "framework/model/heads/mlp_speculator.h"
#include "framework/model/heads/redrafter_head.h"
#include "framework/model/stored_values.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using testing::llama_config;

std::string narrow_target() {
  return llama_config(
      R"("hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8, "num_hidden_layers": 4,
      "tie_word_embeddings": true)");
}
std::string wide_target() {
  return llama_config(
      R"("hidden_size": 72, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 8, "num_hidden_layers": 11,
      "intermediate_size": 200, "vocab_size": 311, "tie_word_embeddings": true)");
}

class InflatedHead {
 public:
  InflatedHead() {
    testing::make_model(small_path(), narrow_target(), 31);
    shape_ = folder_.write("shape.json", wide_target());
    inflate({small_path(), shape_, folder_.path() / "large"});
    small = load_model(small_path());
    large = load_model(folder_.path() / "large");
  }

  std::filesystem::path head() {
    const auto path = folder_.path() / "head";
    std::filesystem::create_directories(path);
    return path;
  }
  void write(const std::string& file, const std::vector<HeadTensor>& known, const std::string& config) {
    std::vector<NewTensor> list;
    for (const HeadTensor& tensor : known) {
      if (!tensor.required) continue;
      const double scale = tensor.shape.size() == 2 ? 1 / std::sqrt(static_cast<double>(tensor.shape[1])) : 0.3;
      const at::Tensor value = at::randn(tensor.shape) * scale + (tensor.name.ends_with("norm.weight") ? 1 : 0);
      list.push_back(stored_as(tensor.name, value, at::kFloat));
    }
    write_safetensors(head() / file, list);
    folder_.write("head/config.json", config);
  }
  std::filesystem::path inflated() {
    inflate_head({head(), small_path(), shape_, folder_.path() / "large_head"});
    return folder_.path() / "large_head";
  }
  void refuse(const std::string& with) {
    CHECK_THROWS_WITH(inflated(), Catch::Contains(with) && !Catch::Contains("\n"));
  }

  std::shared_ptr<const LanguageModel> small, large;

 private:
  std::filesystem::path small_path() const { return folder_.path() / "small"; }
  testing::TemporaryFolder folder_;
  std::filesystem::path shape_;
};

const Tokens kText = {3, 1, 4, 1, 5, 9, 2, 6};

HiddenStates states_behind(const LanguageModel& model, const std::vector<int>& aux) {
  const auto cache = model.make_cache(static_cast<int>(kText.size()));
  ForwardOptions options;
  options.aux_states = aux;
  options.return_final_state = true;
  ForwardResult result = model.forward({kText, ChainShape{}, cache.get(), LogitRows::None}, options);
  return {std::move(result.aux_states), std::move(result.final_state)};
}

double between(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

at::Tensor said_by_feature_head(const FeatureHead& head, const LanguageModel& target) {
  const at::Tensor states = head.states_of(states_behind(target, head.aux_states()));
  const auto cache = head.make_cache(static_cast<int>(kText.size()));
  const ForwardItem item{head.fuse(kText, head.condition(states)), ChainShape{}, cache.get(), LogitRows::None};
  return head.logits(head.forward(std::span(&item, 1)));
}

at::Tensor said_by_path_head(const PathHead& head, const LanguageModel& target) {
  at::Tensor states = states_behind(target, {}).final_state;
  if (head.prefix() != nullptr) {
    const auto cache = head.prefix()->make_cache(static_cast<int>(kText.size()));
    const ForwardItem item{states, ChainShape{}, cache.get(), LogitRows::None};
    ForwardOptions options;
    options.return_final_state = true;
    states = head.prefix()->forward(std::span(&item, 1), options).final_state;
  }
  PathStep step{head.start(states), {}};
  for (int i = 0; i < 2; ++i) step = head.step(i, step.path, kText);
  return step.logits;
}

TEST_CASE("inflated heads say behind the inflated target what they said behind the small one") {
  const c10::InferenceMode inference;
  InflatedHead files;
  const ModelConfig& target = files.small->config();
  SECTION("eagle") {
    const ModelConfig config = layer_config_for(target);
    files.write("model.safetensors", EagleHead::tensors_of(config), model_config_json(config));
    CHECK(between(said_by_feature_head(EagleHead::load(files.head(), files.small), *files.small),
                  said_by_feature_head(EagleHead::load(files.inflated(), files.large), *files.large)) < 1e-3);
  }
  SECTION("eagle3") {
    Eagle3Config config = Eagle3Head::config_for(target);
    config.states = {0, 2, 4};
    config.norm_before_fc = true;
    files.write("model.safetensors", Eagle3Head::tensors_of(config, 3, "midlayer."), eagle3_config_json(config));
    const Eagle3Head large = Eagle3Head::load(files.inflated(), files.large);
    CHECK(large.aux_states() == std::vector<int>{0, 3, 11});
    CHECK(between(said_by_feature_head(Eagle3Head::load(files.head(), files.small), *files.small),
                  said_by_feature_head(large, *files.large)) < 1e-3);
  }
  SECTION("hydra, with a layer in front") {
    files.write("hydra_lm_head.safetensors", HydraHeads::tensors_of({2, 2, true}, target), "{\"hidden_size\": 32}");
    CHECK(between(said_by_path_head(HydraHeads::load(files.head(), files.small), *files.small),
                  said_by_path_head(HydraHeads::load(files.inflated(), files.large), *files.large)) < 1e-3);
  }
  SECTION("mlp_speculator, as wide as the target and narrower") {
    for (const int inner : {32, 24}) {
      const MlpSpeculatorConfig config{2, 32, inner, target.vocab_size, false, true};
      files.write("model.safetensors", MlpSpeculator::tensors_of(config, "speculator."),
                  mlp_speculator_config_json(config));
      CHECK(between(said_by_path_head(MlpSpeculator::load(files.head(), files.small), *files.small),
                    said_by_path_head(MlpSpeculator::load(files.inflated(), files.large), *files.large)) < 1e-3);
    }
  }
  SECTION("redrafter") {
    files.write("model.safetensors", RedrafterHead::tensors_of({2, 32, true}, target), "{\"exit_dim\": 32}");
    CHECK(between(said_by_path_head(RedrafterHead::load(files.head(), files.small), *files.small),
                  said_by_path_head(RedrafterHead::load(files.inflated(), files.large), *files.large)) < 1e-3);
  }
  SECTION("medusa") {
    files.write("medusa_lm_head.safetensors",
                {{"0.0.linear.weight", {32, 32}}, {"0.0.linear.bias", {32}}, {"0.1.weight", {target.vocab_size, 32}}},
                "{}");
    const at::Tensor small =
        MedusaHeads::load(files.head(), files.small).logits(0, states_behind(*files.small, {}).final_state);
    CHECK(between(
              small,
              MedusaHeads::load(files.inflated(), files.large).logits(0, states_behind(*files.large, {}).final_state)) <
          1e-3);
  }
  SECTION("what is no head, and one whose tensors are not what its config says") {
    files.write("model.safetensors", {{"something.weight", {3, 3}}}, "{}");
    files.refuse("holds no head that can be inflated");
    std::vector<HeadTensor> known = EagleHead::tensors_of(layer_config_for(target));
    for (HeadTensor& tensor : known)
      if (tensor.name.find("q_proj") != std::string::npos) tensor.shape = {8, 32};
    files.write("model.safetensors", known, model_config_json(layer_config_for(target)));
    files.refuse("'layers.0.self_attn.q_proj.weight' is [8, 32], which is not the shape that its config says");
  }
}

}  // namespace
}  // namespace foretell
