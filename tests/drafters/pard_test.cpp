// Drafts by mask tokens: one forward says what a forward for each level would say from the committed text alone, in
// chains, trees and batches; and the folders that PARD and PARD-2 publish.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <fstream>

#include "experiments/certify/checks.h"
#include "experiments/certify/real_model.h"
#include "framework/api/build_context.h"
#include "framework/formats/safetensors.h"
#include "framework/model/heads/mask_draft.h"
#include "framework/model/load_model.h"
#include "framework/model/make_random.h"
#include "framework/model/stored_values.h"
#include "tests/drafters/recording.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

using namespace certify;
using model::heads::MaskDraft;

constexpr double kPardTemperature = 2.5;

// Level `depth` by itself: the text and depth - 1 masks in a forward without a cache before it.
at::Tensor pard_level(const MaskDraft& draft, TokenSpan text, int depth, const at::Tensor& states) {
  Tokens rows(text.begin(), text.end());
  rows.insert(rows.end(), static_cast<std::size_t>(depth) - 1, draft.mask);
  const auto cache = draft.model->make_cache(static_cast<int>(rows.size()));
  model::ForwardItem item{TokenSpan(rows), ChainShape{}, cache.get(), LogitRows::Last};
  if (draft.projects) {
    at::Tensor read = at::zeros({static_cast<std::int64_t>(rows.size()), states.size(1)});
    const auto known = static_cast<std::int64_t>(text.size());
    read.narrow(0, 1, known - 1).copy_(states.narrow(0, 0, known - 1));
    if (known > 1) read.narrow(0, known, depth - 1).copy_(states.narrow(0, known - 2, 1).expand({depth - 1, -1}));
    at::Tensor added = draft.projected(read);
    added[0].zero_();
    if (known == 1) added.zero_();
    item.input = draft.embed(rows) + added;
  }
  return at::softmax(draft.model->forward(item).logits[0] / kPardTemperature, 0);
}

struct PardCompared {
  int levels = 0, rounds = 0;
  double worst = 0, without_states = 0;
};

PardCompared compare_pard(const MaskDraft& draft, const std::string& drafter, const std::string& tree, int batch) {
  const c10::InferenceMode inference;
  std::vector<Drafted> drafted;
  const auto target = real_target();
  Setup setup = recorded(toy_setup(drafter, "rejection", tree, target), drafted);
  std::vector<Request> requests;
  for (std::uint64_t id = 0; id < 5; ++id) {
    Request request{.id = id, .max_new_tokens = 16 + 8 * static_cast<int>(id), .seed = 2};
    const std::uint64_t length = id == 4 ? 90 : 3 * id;  // one is read in parts
    for (std::uint64_t i = 0; i <= length; ++i) request.prompt.push_back(static_cast<Token>((5 * i + id) % 16));
    request.sampling.temperature = kPardTemperature;
    requests.push_back(request);
  }
  run(setup, requests, {.batch = batch});
  PardCompared out;
  for (const auto& [committed, tree_of] : drafted) {
    ++out.rounds;
    const at::Tensor states = states_of(*target, committed);
    for (NodeId node = 0; node < tree_of.size(); ++node) {
      if (tree_of.proposals(node).empty()) continue;
      const at::Tensor expected = pard_level(draft, committed, tree_of.depth(node) + 1, states);
      const Distribution& q = tree_of.distribution(tree_of.proposals(node).front().distribution).q;
      for (Token token = 0; token < kRealVocab; ++token)
        out.worst = std::max(out.worst, std::abs(q[token] - static_cast<double>(expected[token].item<float>())));
      ++out.levels;
    }
  }
  return out;
}

TEST_CASE("one forward with masks is a forward for each level from the committed text", "[pard]") {
  for (const bool second : {false, true}) {
    const char* type = second ? "pard2" : "pard";
    const MaskDraft draft = model::heads::untrained_mask_draft(real_target(), second, 3);
    for (const int batch : {1, 3}) {
      const PardCompared chains = compare_pard(
          draft, fmt::format("{{type: {}, head: random, seed: 3, num_speculative_tokens: 4}}", type), "", batch);
      CHECK(chains.worst < 1e-4);
      CHECK(chains.levels > 2 * chains.rounds);
      const PardCompared trees = compare_pard(draft, fmt::format("{{type: {}, head: random, seed: 3}}", type),
                                              "{type: widths, widths: [3, 2, 1]}", batch);
      CHECK(trees.worst < 1e-4);
      CHECK(trees.levels > 2 * trees.rounds);
    }
  }
}

TEST_CASE("drafts by masks lose nothing: drawn, chosen, chains and trees", "[pard]") {
  for (const auto& [drafter, tree] : std::vector<std::pair<const char*, const char*>>{
           {"{type: pard, head: random, num_speculative_tokens: 3}", ""},
           {"{type: pard, head: random, replacement: true}", "{type: widths, widths: [2, 1]}"},
           {"{type: pard2, head: random, num_speculative_tokens: 3}", ""},
           {"{type: pard2, head: random, draft_sample_method: top_k}", "{type: ddtree, num_nodes: 4, max_depth: 2}"}}) {
    INFO(drafter << " " << tree);
    const Setup setup = toy_setup(drafter, "rejection", tree, real_target());
    const ExactFindings found = enumerate(setup, {.prompt = {1, 2, 1, 0}, .tokens = 3, .top_k = 3});
    CHECK(complaint_of(found).value_or("") == "");
    CHECK(found.exercise.accepted > 0);
    CHECK(found.exercise.rejected > 0);
    CHECK(check_real(setup, {.horizon = 64}).value_or("") == "");
  }
}

// ---- files

constexpr const char* kPardConfig = R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
  "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1,
  "num_hidden_layers": 1, "vocab_size": 16, "max_position_embeddings": 64, "rms_norm_eps": 1e-6)";

// A random draft checkpoint in Hugging Face's layout, with these keys more in its config.json.
void write_pard_draft(const std::filesystem::path& folder, const std::string& more) {
  std::ofstream(folder / "given.json") << kPardConfig << "}";
  model::make_random(folder / "given.json", folder, 4);
  std::ofstream(folder / "config.json") << kPardConfig << more << "}";
}

void write_pard_projection(const std::filesystem::path& folder,
                           const std::vector<std::pair<std::string, at::Tensor>>& all) {
  std::vector<NewTensor> list;
  for (const auto& [name, value] : all) list.push_back(stored_as(name, value, at::kFloat));
  write_safetensors(folder / "pard_warp_model.safetensors", list);
}

MaskDraft loaded_pard(const std::filesystem::path& folder) {
  const auto model = model::load_model(folder, {});
  return model::heads::load_mask_draft(folder, {model, model}, std::nullopt, real_target());
}

TEST_CASE("a PARD checkpoint is a model whose config names its mask", "[pard]") {
  const TemporaryFolder folder;
  write_pard_draft(folder.path(), R"(, "pard_token": 9, "spd_type": "pard")");
  const MaskDraft draft = loaded_pard(folder.path());
  CHECK(draft.mask == 9);
  CHECK(!draft.projects);

  const auto refused = [&](const std::string& more, const std::string& with) {
    write_pard_draft(folder.path(), more);
    CHECK_THROWS_WITH(loaded_pard(folder.path()),
                      Catch::Contains("config.json") && Catch::Contains(with) && !Catch::Contains("\n"));
  };
  refused("", "names no mask token ('pard_token')");
  refused(R"(, "pard_token": 16)", "the mask token is 16, the model has ids 0 to 15");
  refused(R"(, "pard_token": "x")", "pard_token");
  refused(R"(, "pard_token": 3, "spd_type": "medusa")", "known: pard, pard2");
  refused(R"(, "pard_token": 3, "pard2_target_layers": [])", "a list of hidden states was expected");
  refused(R"(, "pard_token": 3, "pard2_target_layers": ["a"])", "a hidden state's number was expected");
}

TEST_CASE("a PARD-2 checkpoint has a projection of the target's states beside the model", "[pard]") {
  const c10::InferenceMode inference;
  const TemporaryFolder folder;
  write_pard_draft(folder.path(),
                   R"(, "pard_token": 9, "spd_type": "pard2", "pard2_scale": 0.5, "pard2_target_layers": [-1, 1, -2],
              "pard2_proj_bias": true)");
  const at::Tensor weight = at::randn({16, 96}), bias = at::randn({16});
  write_pard_projection(folder.path(), {{"target_proj.weight", weight}, {"target_proj.bias", bias}});
  const MaskDraft draft = loaded_pard(folder.path());
  REQUIRE(draft.projects);
  CHECK(draft.layers == std::vector<int>{model::heads::kFinalState, 1, 3});  // of four layers
  const at::Tensor states = at::randn({2, 96});
  CHECK((draft.projected(states) - 0.5 * at::linear(states, weight, bias)).abs().max().item<float>() < 1e-4F);

  const auto refused = [&](const std::vector<std::pair<std::string, at::Tensor>>& all, const std::string& with) {
    write_pard_projection(folder.path(), all);
    CHECK_THROWS_WITH(loaded_pard(folder.path()),
                      Catch::Contains("pard_warp_model.safetensors") && Catch::Contains(with));
  };
  refused({{"target_proj.weight", weight}}, "tensor 'target_proj.bias' is missing");
  refused({{"target_proj.weight", weight}, {"target_proj.bias", bias}, {"more", bias}}, "'more' is no tensor of a");
  refused({{"target_proj.weight", bias}, {"target_proj.bias", bias}},
          "'target_proj.weight' is [16], expected [16, 96]");
  std::filesystem::remove(folder.path() / "pard_warp_model.safetensors");
  std::ofstream(folder.path() / "warp_model.bin") << "PK";
  CHECK_THROWS_WITH(loaded_pard(folder.path()), Catch::Contains("is a pickle, which is not read"));
}

TEST_CASE("what a study says of a draft by masks is checked at its line", "[pard]") {
  const auto make = [](const std::string& yaml, std::shared_ptr<const KnownModel> target) {
    return toy_setup(yaml, "rejection", "", std::move(target)).drafter();
  };
  CHECK_THROWS_WITH(make("pard", real_target()), Catch::Contains("names no mask token"));
  CHECK_THROWS_WITH(make("{type: pard, head: random}", toy_target()), Catch::Contains("it needs a model as target"));
  CHECK_THROWS_WITH(make("{type: pard, mask_token: 99}", real_target()), Catch::Contains("the mask token is 99"));
  CHECK_THROWS_WITH(make("{type: pard2, mask_token: 3}", real_target()), Catch::Contains("for the drafter 'pard'"));
  CHECK(make("{type: pard, mask_token: 3}", real_target())->traits().rewinds);
  CHECK(make("{type: pard2, head: random}", real_target())->required_hidden_states() ==
        HiddenStateRequest{.final_state = true});
}

}  // namespace
}  // namespace foretell::testing
