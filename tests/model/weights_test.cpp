// Which tensors of a checkpoint are used, ignored or refused, for every family.
#include "framework/core/error.h"
#include "framework/formats/weight_list.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;
using testing::TemporaryFolder;

std::string config_of(const std::string& family, const std::string& more = "") {
  return family == "bitllama" ? testing::bitllama_config(more) : testing::small_config(family, more);
}

at::Tensor logits_of(const LanguageModel& model) {
  const Tokens tokens = {3, 14, 15, 9, 2, 6};
  return testing::logits_of(model, tokens);
}

float difference(const LanguageModel& model, const at::Tensor& logits) {
  return testing::max_difference(logits_of(model), logits);
}

// A small model of one family whose file can be given further tensors.
class Checkpoints {
 public:
  explicit Checkpoints(const std::string& config) : file_(open(config)) {}

  const StoredTensors& tensors() const { return file_.tensors(); }
  std::shared_ptr<const LanguageModel> load(const StoredTensors& tensors, const std::string& config) const {
    folder_.write("config.json", config);
    std::filesystem::create_directories(folder_.path() / "other");
    std::filesystem::copy(folder_.path() / "config.json", folder_.path() / "other",
                          std::filesystem::copy_options::overwrite_existing);
    write_safetensors(folder_.path() / "other/model.safetensors", tensors);
    return load_model(folder_.path() / "other");
  }
  std::shared_ptr<const LanguageModel> load_with(const std::string& added, const std::string& config) const {
    StoredTensors tensors = file_.tensors();
    tensors[added] = tensors.begin()->second;
    return load(tensors, config);
  }

 private:
  SafetensorsFile open(const std::string& config) {
    return SafetensorsFile::open(testing::make_model(folder_.path(), config, 3) / "model.safetensors");
  }
  TemporaryFolder folder_;
  SafetensorsFile file_;
};

TEST_CASE("a tensor of a file is used, ignored by its family's list, or an error that names it") {
  for (const std::string& family : known_model_families()) {
    const std::string config = config_of(family);
    const Checkpoints checkpoints(config);
    const WeightNaming naming = parse_model_config(config, "config.json").naming;
    const std::string layer = layer_weight_name(naming, 0, "");
    const auto refused = [&](const std::string& name) {
      INFO(family << ": " << name);
      CHECK_THROWS_WITH(checkpoints.load_with(name, config),
                        Contains("'" + name + "'") && Contains("has no place in this " + family));
    };
    const auto ignored = [&](const std::string& name) {
      INFO(family << ": " << name);
      CHECK(checkpoints.load_with(name, config)->config().family == family);
    };
    refused("score.weight");
    refused(std::string(weight_names(naming).prefix) + "unknown");
    refused(layer + "unknown.weight");
    refused(layer + "bias");
    refused(layer + "self_attn.q_proj.other_bias");
    for (const char* buffer : {"inv_freq", "cos_cached", "sin_cached"}) {
      const std::string rotary = layer + "self_attn.rotary_emb." + buffer;
      naming == WeightNaming::Gpt2 ? refused(rotary) : ignored(rotary);
    }
    const std::string gpt2 = layer + "attn.masked_bias", neox = layer + "attention.masked_bias";
    naming == WeightNaming::Gpt2 ? ignored(gpt2) : refused(gpt2);
    naming == WeightNaming::GptNeoX ? ignored(neox) : refused(neox);
  }
}

TEST_CASE("a stored head that is not the embedding is the model's, whatever tie_word_embeddings says") {
  for (const std::string& family : known_model_families()) {
    INFO(family);
    const std::string config = config_of(family, R"("tie_word_embeddings": false)"),
                      tied = config_of(family, R"("tie_word_embeddings": true)");
    const Checkpoints checkpoints(config);
    const auto expected = checkpoints.load(checkpoints.tensors(), config),
               found = checkpoints.load(checkpoints.tensors(), tied);
    CHECK_FALSE(found->config().tie_embeddings);
    CHECK(difference(*found, logits_of(*expected)) < 1e-5f);

    // The embedding once more is no other head, and none at all is the embedding.
    StoredTensors tensors = checkpoints.tensors();
    const WeightNames names = weight_names(found->config().naming);
    tensors.at(names.head) = tensors.at(names.embedding);
    CHECK(checkpoints.load(tensors, tied)->config().tie_embeddings);
    const at::Tensor same = logits_of(*checkpoints.load(tensors, tied));
    tensors.erase(names.head);
    CHECK(difference(*checkpoints.load(tensors, tied), same) < 1e-5f);
    CHECK(difference(*expected, same) > 0.1f);
    // Tied both ways: the head alone is the embedding too, where the config ties them.
    StoredTensors head_alone = tensors;
    head_alone.emplace(names.head, head_alone.at(names.embedding));
    head_alone.erase(names.embedding);
    CHECK(difference(*checkpoints.load(head_alone, tied), same) < 1e-5f);
    CHECK_THROWS_WITH(checkpoints.load(head_alone, config),
                      Contains(std::string("'") + names.embedding + "'") && Contains("is missing"));
    CHECK_THROWS_WITH(checkpoints.load(tensors, config),
                      Contains(std::string("'") + names.head + "'") && Contains("is missing"));
  }
}

TEST_CASE("a published case: a tied config beside another head gives the head's logits") {
  const auto config = testing::data_file("cases/tied_with_other_head/config.json");
  if (!config) return;
  const auto folder = config->parent_path();
  const auto model = load_model(folder, {.dtype = at::kFloat});
  const auto ids = testing::to_rows(SafetensorsFile::open(folder / "ids.safetensors").tensors().begin()->second);
  const auto expected = SafetensorsFile::open(folder / "expected_untied.safetensors");
  const at::Tensor logits = testing::to_tensor(expected.at("logits"));
  for (std::size_t row = 0; row < ids.size(); ++row)
    CHECK(testing::max_difference(testing::logits_of(*model, ids[row]), logits[static_cast<std::int64_t>(row)]) <
          1e-4f);
}

}  // namespace
}  // namespace foretell
