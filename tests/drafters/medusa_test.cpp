// Medusa's heads: the published layout, and drafts that follow from the committed text alone.
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>

#include <fstream>

#include "experiments/certify/checks.h"
#include "experiments/certify/real_model.h"
#include "framework/formats/safetensors.h"
#include "framework/model/heads/medusa_heads.h"
#include "framework/model/stored_values.h"
#include "tests/drafters/recording.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

using namespace certify;

constexpr int kHidden = 32;

TEST_CASE("what each head says follows from the committed text, whatever was drafted, accepted and batched before") {
  const auto target = real_target();
  const MedusaHeads heads = MedusaHeads::random(3, 1, 7, target);
  std::vector<Drafted> drafted;
  const Setup setup =
      recorded(toy_setup("{type: medusa, head: random, num_heads: 3, seed: 7, draft_sample_method: sample}",
                         "rejection", "{type: widths, widths: [3, 2, 1]}", target),
               drafted);
  std::vector<Request> requests;
  for (std::uint64_t id = 0; id < 5; ++id) {
    Request request{.id = id, .max_new_tokens = 14 + 9 * static_cast<int>(id), .seed = 2};
    for (std::uint64_t i = 0; i <= 3 * id; ++i) request.prompt.push_back(static_cast<Token>((5 * i + id) % 16));
    request.sampling.temperature = 1.0;
    requests.push_back(request);
  }
  const auto answers = run(setup, requests, {.batch = 3});
  int accepted = 0, empty = 0, levels = 0;
  for (const Generation& answer : answers)
    for (const RoundRecord& round : answer.rounds) accepted += round.accepted;
  for (const auto& [committed, tree] : drafted) {
    if (tree.size() == 1) {
      ++empty;
      continue;
    }
    const at::Tensor state = states_of(*target, TokenSpan(committed).first(committed.size() - 1))[-1].unsqueeze(0);
    for (NodeId node = 0; node < tree.size(); ++node) {
      if (tree.proposals(node).empty()) continue;
      const auto depth = static_cast<int>(tree.path(node).size());
      const at::Tensor expected = at::softmax(heads.logits(depth, state)[0], 0);
      const Distribution& q = tree.distribution(tree.proposals(node).front().distribution).q;
      for (Token token = 0; token < 16; ++token) CHECK(q[token] == Approx(expected[token].item<float>()).margin(1e-4));
      ++levels;
    }
  }
  CHECK(accepted > 10);
  CHECK(levels > 100);
  CHECK(empty >= 1);  // the prompt of one token has no state yet
}

TEST_CASE("drafts of heads lose nothing: drawn, chosen, chains and trees", "[medusa]") {
  for (const auto& [drafter, tree] : std::vector<std::pair<const char*, const char*>>{
           {"{type: medusa, head: random, draft_sample_method: sample}", ""},
           {"{type: medusa, head: random, draft_sample_method: sample}", "{type: widths, widths: [2]}"},
           {"{type: medusa, head: random}", "{type: static, paths: [[0], [1], [0, 0]]}"}}) {
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

std::map<std::string, at::Tensor> published(int heads, int blocks, bool outputs, const std::string& prefix = "") {
  std::map<std::string, at::Tensor> out;
  for (int head = 0; head < heads; ++head) {
    for (int block = 0; block < blocks; ++block) {
      const std::string stem = fmt::format("{}{}.{}.linear.", prefix, head, block);
      out[stem + "weight"] = at::randn({kHidden, kHidden}) / 6;
      out[stem + "bias"] = at::randn({kHidden});
    }
    if (outputs) out[fmt::format("{}{}.{}.weight", prefix, head, blocks)] = at::randn({kRealVocab, kHidden});
  }
  return out;
}

std::filesystem::path write(const std::filesystem::path& file, const std::map<std::string, at::Tensor>& tensors) {
  std::vector<NewTensor> list;
  for (const auto& [name, value] : tensors) list.push_back(stored_as(name, value, at::kFloat));
  write_safetensors(file, list);
  return file;
}

at::Tensor by_formula(const std::map<std::string, at::Tensor>& tensors, int head, int blocks, at::Tensor x,
                      const OutputHead& lent, const std::string& prefix = "") {
  for (int block = 0; block < blocks; ++block) {
    const std::string stem = fmt::format("{}{}.{}.linear.", prefix, head, block);
    const at::Tensor y = at::matmul(x, tensors.at(stem + "weight").t()) + tensors.at(stem + "bias");
    x = x + y * at::sigmoid(y);
  }
  const auto own = tensors.find(fmt::format("{}{}.{}.weight", prefix, head, blocks));
  return own == tensors.end() ? lent.logits(x) : at::matmul(x, own->second.t());
}

TEST_CASE("heads in the published layout compute the paper's formula, with outputs of their own or the target's") {
  const c10::InferenceMode inference;
  const auto target = real_target();
  const at::Tensor states = at::randn({5, kHidden});
  for (const int blocks : {1, 2}) {
    for (const bool outputs : {true, false}) {
      const TemporaryFolder folder;
      const auto tensors = published(3, blocks, outputs);
      write(folder.path() / "medusa_lm_head.safetensors", tensors);
      const MedusaHeads heads = MedusaHeads::load(folder.path(), target);
      REQUIRE(heads.count() == 3);
      for (int head = 0; head < 3; ++head) {
        const at::Tensor expected = by_formula(tensors, head, blocks, states, target->parts()->head());
        CHECK((heads.logits(head, states) - expected).abs().max().item<float>() < 1e-4F);
      }
    }
  }
}

TEST_CASE("heads stand behind a prefix among a model's own tensors, or in a file by another name") {
  const c10::InferenceMode inference;
  const auto target = real_target();
  const TemporaryFolder folder;
  auto tensors = published(2, 1, true, "medusa_head.");
  tensors["lm_head.weight"] = at::randn({kRealVocab, kHidden});
  write(folder.path() / "model.safetensors", tensors);
  const at::Tensor states = at::randn({2, kHidden});
  CHECK(MedusaHeads::file_of(folder.path()) == folder.path() / "model.safetensors");
  for (const auto& path : {folder.path(), folder.path() / "model.safetensors"}) {
    const MedusaHeads heads = MedusaHeads::load(path, target);
    CHECK(heads.count() == 2);
    const at::Tensor expected = by_formula(tensors, 1, 1, states, target->parts()->head(), "medusa_head.");
    CHECK((heads.logits(1, states) - expected).abs().max().item<float>() < 1e-4F);
  }
}

TEST_CASE("files that do not fit are refused in one line") {
  const auto target = real_target();
  const TemporaryFolder folder;
  const auto file = folder.path() / "medusa_lm_head.safetensors";
  const auto refused = [&](std::map<std::string, at::Tensor> tensors, const std::string& with) {
    write(file, tensors);
    CHECK_THROWS_WITH(MedusaHeads::load(folder.path(), target),
                      Catch::Contains(file.string()) && Catch::Contains(with) && !Catch::Contains("\n"));
  };
  auto tensors = published(2, 1, true);
  tensors.erase("1.0.linear.bias");
  refused(tensors, "tensor '1.0.linear.bias' is missing: the file names 2 heads of 1 block");
  tensors = published(2, 1, true);
  tensors["1.0.linear.weight"] = at::randn({64, 64});
  refused(tensors, "'1.0.linear.weight' is [64, 64], the target needs [32, 32]");
  tensors = published(2, 1, true);
  tensors["0.1.weight"] = at::randn({15, kHidden});
  refused(tensors, "'0.1.weight' is [15, 32], the target needs [16, 32]");
  tensors = published(2, 1, true);
  tensors["embed.weight"] = at::randn({2});
  refused(tensors, "'embed.weight' is no tensor of a Medusa head");
  tensors = published(1, 1, true);
  tensors["99999999999.0.linear.bias"] = at::randn({kHidden});
  refused(tensors, "'99999999999.0.linear.bias' is no tensor of a Medusa head");
  tensors = published(2, 1, true);
  tensors["0.0.weight"] = at::randn({kRealVocab, kHidden});
  refused(tensors, "7 tensors where 2 heads of 1 block have 6");

  write(file, published(2, 1, true));
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 100);
  CHECK_THROWS_WITH(MedusaHeads::load(folder.path(), target), Catch::Contains("medusa_lm_head.safetensors"));
  std::filesystem::remove(file);
  std::ofstream(folder.path() / "medusa_lm_head.pt") << "PK";
  CHECK_THROWS_WITH(MedusaHeads::load(folder.path(), target), Catch::Contains("is a pickle, which is not read"));
}

TEST_CASE("what a study says of heads is checked at its line") {
  const auto make = [](const std::string& yaml, std::shared_ptr<const KnownModel> target) {
    return toy_setup(yaml, "rejection", "", std::move(target)).drafter();
  };
  CHECK_THROWS_WITH(make("medusa", real_target()), Catch::Contains("expected head: FOLDER, or head: random"));
  CHECK_THROWS_WITH(make("{type: medusa, head: random}", toy_target()), Catch::Contains("it needs a model as target"));
  CHECK_THROWS_WITH(make("{type: medusa, head: random, num_heads: 2, num_speculative_tokens: 3}", real_target()),
                    Catch::Contains("num_speculative_tokens is 3, this drafter has 2 levels"));
  const auto drafter = make("{type: medusa, head: random, num_heads: 3}", real_target());
  CHECK(drafter->limits().depth == 3);
  CHECK(drafter->required_hidden_states() == HiddenStateRequest{.final_state = true});
  CHECK(!drafter->traits().rewinds);
}

}  // namespace
}  // namespace foretell::testing
