// Trained exit heads: the documented layout, each head by its formula, few tokens alone, and files that do not fit.
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/silu.h>

#include <filesystem>
#include <map>

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/decoding/forward_rules.h"
#include "framework/model/heads/exit_heads.h"
#include "framework/model/stored_values.h"
#include "tests/fuzz/head_targets.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/support/seeds.h"

namespace foretell::testing {
namespace {

using HeadTensors = std::map<std::string, at::Tensor>;

std::filesystem::path write_heads(const std::filesystem::path& file, const HeadTensors& tensors) {
  std::vector<NewTensor> list;
  for (const auto& [name, value] : tensors) list.push_back(stored_as(name, value, at::kFloat));
  write_safetensors(file, list);
  return file;
}

struct HeadWorld {
  TemporaryFolder folder;
  std::shared_ptr<const LanguageModel> model =
      load_model(make_model(folder.path(), small_config("llama"), 71), {.dtype = at::kFloat});
  std::int64_t hidden = model->config().hidden_size, vocab = model->config().vocab_size;
  std::filesystem::path file = folder.path() / "exit_heads.safetensors";

  std::string mistake(const std::string& rules) const {
    try {
      read_rules(parse_yaml(rules, "study.yaml"), "pipeline.target",
                 {.vocab = static_cast<int>(vocab), .target = model});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_CASE("a head of its own and a translator answer as their formulas say", "[exit_heads]") {
  const HeadWorld world;
  const HeadTensors tensors = {{"layers.1.weight", at::randn({world.vocab, world.hidden})},
                               {"layers.1.bias", at::randn({world.vocab})},
                               {"layers.2.weight", at::randn({world.hidden, world.hidden}) / 6},
                               {"layers.2.bias", at::randn({world.hidden})}};
  write_heads(world.file, tensors);
  const auto heads = TrainedExitHeads::load(TrainedExitHeads::file_of(world.folder.path()), world.model);
  CHECK(heads->layers() == std::vector<int>{1, 2});
  const ModelParts& parts = *world.model->parts();
  const at::Tensor state = at::randn({5, world.hidden});
  const at::Tensor own =
      at::matmul(parts.final_norm(state), tensors.at("layers.1.weight").t()) + tensors.at("layers.1.bias");
  CHECK(max_difference(heads->at(1).logits(state), own) < 1e-4F);
  const at::Tensor moved = state + at::matmul(state, tensors.at("layers.2.weight").t()) + tensors.at("layers.2.bias");
  CHECK(max_difference(heads->at(2).logits(state), parts.head().logits(parts.final_norm(moved))) < 1e-4F);
  // An MLP before the target's head, and before one of its own.
  const at::Tensor up = at::randn({9, world.hidden}) / 4, down = at::randn({world.hidden, 9});
  const TemporaryFolder other;
  const auto mlps = TrainedExitHeads::load(
      write_heads(other.path() / "mlp.safetensors", {{"layers.1.up.weight", up},
                                                     {"layers.1.down.weight", down},
                                                     {"layers.2.up.weight", up},
                                                     {"layers.2.down.weight", down},
                                                     {"layers.2.weight", tensors.at("layers.1.weight")}}),
      world.model);
  const at::Tensor inner = at::silu(at::matmul(parts.final_norm(state), up.t()));
  const at::Tensor behind = parts.final_norm(state + at::matmul(inner, down.t()));
  CHECK(max_difference(mlps->at(1).logits(state), parts.head().logits(behind)) < 1e-4F);
  CHECK(max_difference(mlps->at(2).logits(state), at::matmul(behind, tensors.at("layers.1.weight").t())) < 1e-4F);
  const Tokens few{96, 0, 17, 16, 0};
  for (const int layer : {1, 2}) {
    const at::Tensor all = heads->at(layer).logits(state), some = heads->at(layer).logits_of(state, few);
    CHECK((some.size(0) == 5 && some.size(1) == 5));
    for (std::size_t t = 0; t < few.size(); ++t)
      CHECK(max_difference(some.select(1, static_cast<std::int64_t>(t)), all.select(1, few[t])) < 1e-6F);
  }
}

TEST_CASE("logits of few tokens are those of the whole head, however it is stored", "[exit_heads]") {
  for (const char* family : {"llama", "gpt2"})
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
      const TemporaryFolder folder;
      const auto model = load_model(make_model(folder.path(), small_config(family), 72), {.dtype = type});
      for (const bool int8 : {false, true}) {
        if (int8 && type == at::kDouble) continue;
        const auto target = int8 ? model->quantised({}) : model;
        const OutputHead& head = target->parts()->head();
        const at::Tensor state = at::randn({3, target->config().hidden_size}).to(type);
        const Tokens few{5, 88, 5, 80, 0};
        const at::Tensor all = head.logits(state), some = head.logits_of(state, few);
        for (std::size_t t = 0; t < few.size(); ++t) {
          INFO(family << " " << static_cast<int>(type) << " " << int8 << " " << few[t]);
          CHECK(max_difference(some.select(1, static_cast<std::int64_t>(t)), all.select(1, few[t])) < 1e-5F);
        }
      }
    }
}

TEST_CASE("random heads are the same every time, and no two alike", "[exit_heads]") {
  const HeadWorld world;
  const auto a = TrainedExitHeads::random(3, world.model), b = TrainedExitHeads::random(3, world.model);
  const at::Tensor state = at::randn({2, world.hidden});
  CHECK(a->layers() == std::vector<int>{1, 2});
  CHECK(at::equal(a->at(1).logits(state), b->at(1).logits(state)));
  CHECK_FALSE(at::equal(a->at(1).logits(state), a->at(2).logits(state)));
  CHECK_FALSE(at::equal(a->at(1).logits(state), TrainedExitHeads::random(4, world.model)->at(1).logits(state)));
}

TEST_CASE("files of exit heads that do not fit are one line", "[exit_heads]") {
  const HeadWorld world;
  const std::string rules = "{exit: margin, heads: " + world.folder.path().string() + "}";
  CHECK_THAT(world.mistake(rules), Catch::StartsWith("study.yaml:1: ") && Catch::Contains("exit_heads.safetensors"));
  const at::Tensor good = at::randn({world.vocab, world.hidden});
  const std::pair<HeadTensors, const char*> cases[] = {
      {{{"layers.1.weight", good}}, "has no head behind layer 2, where rows may leave; it has them behind 1"},
      {{{"layers.1.weight", good}, {"layers.3.weight", good}},
       "the model has 3 layers, so a head stands behind layer 1 to 2"},
      {{{"layers.1.weight", at::randn({world.vocab, world.hidden + 1})}}, "a translator of states"},
      {{{"layers.1.weight", good}, {"layers.1.bias", at::randn({3})}},
       "'layers.1.bias' is [3], its weight has 97 outputs"},
      {{{"layers.1.bias", at::randn({world.vocab})}}, "'layers.1.weight' is missing"},
      {{{"layers.one.weight", good}}, "'layers.one.weight' is no tensor of an exit head"}};
  for (const auto& [tensors, words] : cases) {
    write_heads(world.file, tensors);
    const std::string found = world.mistake(rules);
    INFO(found);
    CHECK_THAT(found, Catch::StartsWith("study.yaml:1: ") && Catch::Contains(words));
    CHECK(found.find('\n') == std::string::npos);
  }
  write_heads(world.file, {{"layers.1.weight", good}});
  CHECK(world.mistake("{exit: {type: margin, layers: [1]}, heads: " + world.folder.path().string() + "}").empty());
  CHECK(world.mistake("{exit: margin, heads: own}").empty());
}

TEST_CASE("the fuzzer's seeds of exit heads are read or refused as they should be", "[exit_heads]") {
  int read = 0, refused = 0;
  for_each_seed("exit_heads_fuzz", [&](const std::string& bytes) {
    try {
      fuzz::read_exit_heads(std::as_bytes(std::span(bytes.data(), bytes.size())), "seed");
      ++read;
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find('\n') == std::string::npos);
      ++refused;
    }
  });
  CHECK((read == 3 && refused == 11));
}

}  // namespace
}  // namespace foretell::testing
