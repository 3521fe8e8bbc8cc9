// EAGLE's head: the published layout, and drafts that follow from the committed text alone, whatever was drafted
// before.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>

#include <fstream>

#include "experiments/certify/checks.h"
#include "experiments/certify/real_model.h"
#include "framework/formats/safetensors.h"
#include "framework/model/heads/eagle_head.h"
#include "framework/model/stored_values.h"
#include "tests/drafters/recording.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

using namespace certify;

constexpr int kWidth = 32;
constexpr double kTemperature = 2.5;  // so flat that an untrained head is accepted often

// What the head predicts behind pairs of features and the tokens behind them, in one forward without a cache before it.
at::Tensor predicted(const EagleHead& head, TokenSpan tokens, const at::Tensor& features) {
  const auto cache = head.make_cache(static_cast<int>(tokens.size()));
  const ForwardItem item{head.fuse(tokens, features), ChainShape{}, cache.get(), LogitRows::None};
  return head.forward(std::span(&item, 1));
}

// The states of a text's pairs: the target's own for the first `known` positions, the head's own behind them, as a
// draft goes on.
at::Tensor continued(const EagleHead& head, TokenSpan text, at::Tensor features) {
  while (features.size(0) + 1 < static_cast<std::int64_t>(text.size())) {
    const TokenSpan behind = text.subspan(1, static_cast<std::size_t>(features.size(0)));
    features = at::cat({features, predicted(head, behind, features)[-1].unsqueeze(0)});
  }
  return features;
}

at::Tensor drafted_distribution(const EagleHead& head, TokenSpan text, const at::Tensor& features) {
  const at::Tensor last = predicted(head, text.subspan(1), continued(head, text, features))[-1];
  return at::softmax(head.logits(last.unsqueeze(0))[0] / kTemperature, 0);
}

double apart(const Distribution& q, const at::Tensor& expected) {
  double most = 0;
  for (Token token = 0; token < kRealVocab; ++token)
    most = std::max(most, std::abs(q[token] - static_cast<double>(expected[token].item<float>())));
  return most;
}

struct Compared {
  int none = 0, some = 0, whole = 0;  // rounds by what the one before them accepted
  int levels = 0, told_apart = 0, empty = 0;
  double worst = 0;
};

// Every drafted level against a full recomputation from the committed text; and against what a source would say that
// keeps the rows of accepted tokens as the draft before has computed them.
Compared compare(const std::string& drafter, const std::string& tree, int batch) {
  const c10::InferenceMode inference;
  const auto target = real_target();
  const EagleHead head = EagleHead::random(7, target);
  std::vector<Drafted> drafted;
  Setup setup = recorded(toy_setup(drafter, "rejection", tree, target), drafted);
  std::vector<Request> requests;
  for (std::uint64_t id = 0; id < 5; ++id) {
    Request request{.id = id, .max_new_tokens = 20 + 8 * static_cast<int>(id), .seed = 2};
    for (std::uint64_t i = 0; i <= 3 * id; ++i) request.prompt.push_back(static_cast<Token>((5 * i + id) % 16));
    request.sampling.temperature = kTemperature;
    requests.push_back(request);
  }
  run(setup, requests, {.batch = batch});
  Compared out;
  for (std::size_t i = 0; i < drafted.size(); ++i) {
    const auto& [committed, tree_of] = drafted[i];
    if (tree_of.size() == 1) {
      ++out.empty;
      continue;
    }
    const TokenSpan known = TokenSpan(committed).first(committed.size() - 1);
    const at::Tensor states = states_of(*target, known);
    const Drafted* before = nullptr;
    for (std::size_t j = 0; j < i; ++j)
      if (drafted[j].committed.size() < committed.size() && drafted[j].tree.size() > 1 &&
          std::equal(drafted[j].committed.begin(), drafted[j].committed.end(), committed.begin()))
        before = &drafted[j];
    at::Tensor stale;
    if (before != nullptr) {
      const auto had = static_cast<std::int64_t>(before->committed.size()) - 1,
                 accepted = static_cast<std::int64_t>(committed.size() - before->committed.size()) - 1;
      ++(accepted == 0 ? out.none : accepted < before->tree.depth() ? out.some : out.whole);
      if (accepted > 0) {
        stale = continued(head, TokenSpan(committed).first(static_cast<std::size_t>(had + accepted) + 1),
                          states.narrow(0, 0, had));
        stale = at::cat({stale, states.narrow(0, had + accepted, states.size(0) - had - accepted)});
      }
    }
    for (NodeId node = 0; node < tree_of.size(); ++node) {
      if (tree_of.proposals(node).empty()) continue;
      Tokens text = committed;
      for (const Token token : tree_of.path(node)) text.push_back(token);
      const Distribution& q = tree_of.distribution(tree_of.proposals(node).front().distribution).q;
      out.worst = std::max(out.worst, apart(q, drafted_distribution(head, text, states)));
      if (stale.defined() && apart(q, drafted_distribution(head, text, stale)) > 1e-3) ++out.told_apart;
      ++out.levels;
    }
  }
  return out;
}

TEST_CASE("what the head drafts is a full recomputation from the committed text, in chains, trees and batches",
          "[eagle]") {
  const char* chain = "{type: eagle, head: random, seed: 7, num_speculative_tokens: 2}";
  const char* tree = "{type: eagle, head: random, seed: 7}";
  for (const int batch : {1, 3}) {
    const Compared in_chains = compare(chain, "", batch);
    CHECK(in_chains.worst < 1e-4);
    CHECK(in_chains.none > 3);
    CHECK(in_chains.some > 3);
    CHECK(in_chains.whole > 3);
    CHECK(in_chains.empty >= 1);      // the prompt of one token has no pair yet
    CHECK(in_chains.told_apart > 5);  // rows that a draft has left would be noticed
    const Compared in_trees = compare(tree, "{type: widths, widths: [3, 2, 1]}", batch);
    CHECK(in_trees.worst < 1e-4);
    CHECK(in_trees.some > 3);
    CHECK(in_trees.told_apart > 5);
    CHECK(in_trees.levels > 100);
  }
}

TEST_CASE("drafts of states lose nothing: drawn, chosen, chains and trees", "[eagle]") {
  for (const auto& [drafter, tree] : std::vector<std::pair<const char*, const char*>>{
           {"{type: eagle, head: random, num_speculative_tokens: 3}", ""},
           {"{type: eagle, head: random}", "{type: widths, widths: [2, 1]}"},
           {"{type: eagle, head: random, draft_sample_method: top_k}", "{type: static, paths: [[0], [1], [0, 0]]}"},
           {"{type: eagle, head: random, draft_sample_method: top_k}",
            "{type: eagle2, top_k: 2, depth: 2, total_tokens: 4}"}}) {
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

using Tensors = std::map<std::string, at::Tensor>;

std::string published_config(int layers) {
  return fmt::format(
      R"({{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": {}, "intermediate_size": 48,
      "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": {}, "vocab_size": {},
      "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "hidden_act": "silu", "bias": true}})",
      kWidth, layers, kRealVocab);
}

// Names and shapes of the released heads of Vicuna and LLaMA 2 Chat, at this width.
Tensors published(int layers) {
  Tensors out = {{"embed_tokens.weight", at::randn({kRealVocab, kWidth})},
                 {"fc.weight", at::randn({kWidth, 2 * kWidth}) / 8},
                 {"fc.bias", at::randn({kWidth}) / 8}};
  for (int layer = 0; layer < layers; ++layer) {
    const std::string stem = fmt::format("layers.{}.", layer);
    if (layer > 0) out[stem + "input_layernorm.weight"] = at::randn({kWidth});
    out[stem + "self_attn.q_proj.weight"] = at::randn({kWidth, kWidth}) / 6;
    out[stem + "self_attn.k_proj.weight"] = at::randn({kWidth / 2, kWidth}) / 6;
    out[stem + "self_attn.v_proj.weight"] = at::randn({kWidth / 2, kWidth}) / 6;
    out[stem + "self_attn.o_proj.weight"] = at::randn({kWidth, kWidth}) / 6;
    out[stem + "post_attention_layernorm.weight"] = at::randn({kWidth});
    out[stem + "mlp.gate_proj.weight"] = at::randn({48, kWidth}) / 6;
    out[stem + "mlp.up_proj.weight"] = at::randn({48, kWidth}) / 6;
    out[stem + "mlp.down_proj.weight"] = at::randn({kWidth, 48}) / 7;
  }
  return out;
}

void write_published(const std::filesystem::path& folder, int layers, const Tensors& tensors) {
  std::ofstream(folder / "config.json") << published_config(layers);
  std::vector<NewTensor> list;
  for (const auto& [name, value] : tensors) list.push_back(stored_as(name, value, at::kFloat));
  write_safetensors(folder / "model.safetensors", list);
}

// The paper's formula for the first pair, which attends to itself alone: the values go through as they are.
at::Tensor first_pair(const Tensors& t, Token token, const at::Tensor& feature) {
  const auto times = [&](const at::Tensor& x, const char* name) { return at::matmul(t.at(name), x); };
  const at::Tensor joined = at::cat({t.at("embed_tokens.weight")[token], feature});
  at::Tensor x = times(joined, "fc.weight") + t.at("fc.bias");
  const at::Tensor values =
      times(x, "layers.0.self_attn.v_proj.weight").view({2, 1, 8}).expand({2, 2, 8}).reshape({kWidth});
  x = x + times(values, "layers.0.self_attn.o_proj.weight");
  const at::Tensor normed = x / (x.square().mean() + 1e-6).sqrt() * t.at("layers.0.post_attention_layernorm.weight");
  const at::Tensor gate = times(normed, "layers.0.mlp.gate_proj.weight");
  return x +
         times(gate * gate.sigmoid() * times(normed, "layers.0.mlp.up_proj.weight"), "layers.0.mlp.down_proj.weight");
}

TEST_CASE("a head in the published layout computes the paper's formula", "[eagle]") {
  const c10::InferenceMode inference;
  const auto target = real_target();
  const TemporaryFolder folder;
  const Tensors tensors = published(1);
  write_published(folder.path(), 1, tensors);
  const EagleHead head = EagleHead::load(folder.path(), target);
  const at::Tensor feature = at::randn({1, kWidth});
  const at::Tensor said = predicted(head, Tokens{5}, feature);
  CHECK((said[0] - first_pair(tensors, 5, feature[0])).abs().max().item<float>() < 1e-4F);
  CHECK((head.logits(said) - target->parts()->head().logits(said)).abs().max().item<float>() == 0);

  // Without an embedding of its own it has the target's; two layers have a norm between them.
  for (const int layers : {1, 2}) {
    const TemporaryFolder other;
    Tensors some = published(layers);
    some.erase("embed_tokens.weight");
    some["layers.0.self_attn.rotary_emb.inv_freq"] = at::randn({4});
    write_published(other.path(), layers, some);
    CHECK(predicted(EagleHead::load(other.path(), target), Tokens{5, 6}, at::randn({2, kWidth})).size(0) == 2);
  }
  CHECK(EagleHead::file_of(folder.path()) == folder.path() / "model.safetensors");
}

TEST_CASE("heads that do not fit are refused in one line that names the tensor", "[eagle]") {
  const auto target = real_target();
  const TemporaryFolder folder;
  const auto refused = [&](const Tensors& tensors, const std::string& with, int layers = 1) {
    write_published(folder.path(), layers, tensors);
    CHECK_THROWS_WITH(EagleHead::load(folder.path(), target),
                      Catch::Contains("model.safetensors") && Catch::Contains(with) && !Catch::Contains("\n"));
  };
  Tensors tensors = published(1);
  tensors.erase("layers.0.mlp.up_proj.weight");
  refused(tensors, "tensor 'layers.0.mlp.up_proj.weight' is missing");
  tensors = published(1);
  tensors["layers.0.input_layernorm.weight"] = at::randn({kWidth});
  refused(tensors, "'layers.0.input_layernorm.weight' is no tensor of an EAGLE head");
  tensors = published(1);
  tensors["fc.weight"] = at::randn({kWidth, kWidth});
  refused(tensors, "'fc.weight' is [32, 32], expected [32, 64]");
  refused(published(1), "tensor 'layers.1.input_layernorm.weight' is missing", 2);
  tensors = published(1);
  tensors["midlayer.hidden_norm.weight"] = at::randn({kWidth});  // EAGLE-3's
  refused(tensors, "'midlayer.hidden_norm.weight' is no tensor");

  write_published(folder.path(), 1, published(1));
  std::filesystem::resize_file(folder.path() / "model.safetensors", 3000);
  CHECK_THROWS_WITH(EagleHead::load(folder.path(), target), Catch::Contains("model.safetensors"));
  std::filesystem::remove(folder.path() / "model.safetensors");
  std::ofstream(folder.path() / "pytorch_model.bin") << "PK";
  CHECK_THROWS_WITH(EagleHead::load(folder.path(), target), Catch::Contains("is a pickle, which is not read"));
}

TEST_CASE("what a study says of a head is checked at its line", "[eagle]") {
  const auto make = [](const std::string& yaml, std::shared_ptr<const KnownModel> target) {
    return toy_setup(yaml, "rejection", "", std::move(target)).drafter();
  };
  CHECK_THROWS_WITH(make("eagle", real_target()), Catch::Contains("expected head: FOLDER, or head: random"));
  CHECK_THROWS_WITH(make("{type: eagle, head: random}", toy_target()), Catch::Contains("it needs a model as target"));
  CHECK_THROWS_WITH(make("{type: eagle, head: nowhere}", real_target()), Catch::Contains("nowhere"));
  const auto drafter = make("{type: eagle, head: random}", real_target());
  CHECK(drafter->limits().depth == 4);
  CHECK(drafter->required_hidden_states() == HiddenStateRequest{.final_state = true});
  CHECK(!drafter->traits().rewinds);
}

}  // namespace
}  // namespace foretell::testing
