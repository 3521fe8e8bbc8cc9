// EAGLE-3's head: its published layouts against the formula, and files that do not fit.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>

#include <cmath>
#include <fstream>

#include "experiments/certify/real_model.h"
#include "framework/formats/heads/draft_vocabulary.h"
#include "framework/formats/heads/eagle3_config.h"
#include "framework/model/heads/eagle3_head.h"
#include "framework/model/stored_values.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

using namespace certify;

constexpr std::int64_t kWide = 32, kHeads = 4, kKeys = 2, kDim = 8, kInner = 48;
constexpr double kEps = 1e-6, kTheta = 777;

struct Layout {
  std::string stem = "midlayer.";
  int states = 3, draft_vocab = 6;
  std::string flags = {};  // "norm_output": true, ...
  std::string named = R"("eagle_aux_hidden_state_layer_ids": [0, 2, 4])";
  bool says(const char* flag) const { return flags.find(flag) != std::string::npos; }
};

std::string inner_config() {
  return fmt::format(
      R"("model_type": "llama", "hidden_size": {}, "intermediate_size": {}, "num_attention_heads": {},
      "num_key_value_heads": {}, "num_hidden_layers": 1, "vocab_size": {}, "max_position_embeddings": 256,
      "rms_norm_eps": 1e-6, "hidden_act": "silu", "rope_theta": {})",
      kWide, kInner, kHeads, kKeys, kRealVocab, kTheta);
}

std::string join(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts)
    if (!part.empty()) out += (out.empty() ? "" : ", ") + part;
  return "{" + out + "}";
}

// The authors' layout, or speculators'.
std::string config_of(const Layout& layout) {
  const std::string vocab = fmt::format(R"("draft_vocab_size": {})", layout.draft_vocab);
  if (layout.stem == "midlayer.")
    return join({R"("architectures": ["LlamaForCausalLMEagle3"])", inner_config(), vocab, layout.named, layout.flags});
  return join({R"("architectures": ["Eagle3Speculator"], "speculators_model_type": "eagle3")", vocab, layout.named,
               layout.flags, R"("transformer_layer_config": {)" + inner_config() + "}"});
}

HeadTensors published_eagle3(const Layout& layout) {
  const std::int64_t read = layout.states * kWide;
  const auto matrix = [](std::int64_t outputs, std::int64_t inputs) {
    return at::randn({outputs, inputs}) / std::sqrt(static_cast<double>(inputs));
  };
  const auto gain = [](std::int64_t width) { return at::randn({width}) * 0.3 + 1; };
  HeadTensors out = {{"fc.weight", matrix(kWide, read)},
                     {"norm.weight", gain(kWide)},
                     {"lm_head.weight", matrix(layout.draft_vocab, kWide)},
                     {"embed_tokens.weight", at::randn({kRealVocab, kWide})}};
  if (layout.says("norm_before_fc")) out["input_norm.weight"] = gain(read);
  for (int state = 0; layout.says("fc_norm") && state < layout.states; ++state)
    out[fmt::format("fc_norm.{}.weight", state)] = gain(kWide);
  for (const auto& [name, value] : HeadTensors{{"hidden_norm", gain(kWide)},
                                               {"input_layernorm", gain(kWide)},
                                               {"post_attention_layernorm", gain(kWide)},
                                               {"self_attn.q_proj", matrix(kHeads * kDim, 2 * kWide)},
                                               {"self_attn.k_proj", matrix(kKeys * kDim, 2 * kWide)},
                                               {"self_attn.v_proj", matrix(kKeys * kDim, 2 * kWide)},
                                               {"self_attn.o_proj", matrix(kWide, kHeads * kDim)},
                                               {"mlp.gate_proj", matrix(kInner, kWide)},
                                               {"mlp.up_proj", matrix(kInner, kWide)},
                                               {"mlp.down_proj", matrix(kWide, kInner)}})
    out[layout.stem + name + ".weight"] = value;
  return out;
}

const std::vector<Token> kDrafted = {0, 3, 4, 9, 12, 15};

void write_eagle3(const std::filesystem::path& folder, const Layout& layout, const HeadTensors& tensors,
                  const std::vector<NewTensor>& vocabulary = vocabulary_tensors(kDrafted, kRealVocab)) {
  std::ofstream(folder / "config.json") << config_of(layout);
  std::vector<NewTensor> list = vocabulary;
  for (const auto& [name, value] : tensors) list.push_back(stored_as(name, value, at::kFloat));
  write_safetensors(folder / "model.safetensors", list);
}

// The formula in float64, of all pairs at once: what forward() says and its logits.
class Reference {
 public:
  Reference(const Layout& layout, const HeadTensors& tensors) : layout_(layout) {
    for (const auto& [name, value] : tensors) t_[name] = value.to(at::kDouble);
  }

  at::Tensor condition(const at::Tensor& states) const {
    at::Tensor x = states.to(at::kDouble);
    if (layout_.says("norm_before_fc")) x = norm(x, "input_norm");
    if (layout_.says("fc_norm")) {
      std::vector<at::Tensor> parts;
      for (int i = 0; i < layout_.states; ++i)
        parts.push_back(norm(x.narrow(1, i * kWide, kWide), fmt::format("fc_norm.{}", i)));
      x = at::cat(parts, 1);
    }
    return times(x, "fc");
  }

  at::Tensor forward(TokenSpan tokens, const at::Tensor& features) const {
    const auto rows = static_cast<std::int64_t>(tokens.size());
    std::vector<at::Tensor> embedded;
    for (const Token token : tokens) embedded.push_back(t_.at("embed_tokens.weight")[token].unsqueeze(0));
    const at::Tensor normed = norm(features, layout_.stem + "hidden_norm");
    const at::Tensor read = at::cat({norm(at::cat(embedded), layout_.stem + "input_layernorm"), normed}, 1);
    at::Tensor x = (layout_.says("norm_before_residual") ? normed : features) + attended(read, rows);
    const at::Tensor inside = norm(x, layout_.stem + "post_attention_layernorm");
    x = x + times(at::silu(times(inside, layout_.stem + "mlp.gate_proj")) * times(inside, layout_.stem + "mlp.up_proj"),
                  layout_.stem + "mlp.down_proj");
    return layout_.says("norm_output") ? norm(x, "norm") : x;
  }

  at::Tensor logits(const at::Tensor& said) const {
    return times(layout_.says("norm_output") ? said : norm(said, "norm"), "lm_head");
  }

 private:
  at::Tensor norm(const at::Tensor& x, const std::string& name) const {
    return x / (x.square().mean(-1, true) + kEps).sqrt() * t_.at(name + ".weight");
  }
  at::Tensor times(const at::Tensor& x, const std::string& name) const {
    return at::matmul(x, t_.at(name + ".weight").t());
  }
  static at::Tensor turned(const at::Tensor& x) {  // [rows, heads, dim], row = position
    const at::Tensor rate = (at::arange(kDim / 2, at::kDouble) * (-2.0 / kDim * std::log(kTheta))).exp();
    const at::Tensor angle = (at::arange(x.size(0), at::kDouble).unsqueeze(1) * rate.unsqueeze(0)).unsqueeze(1);
    const at::Tensor a = x.narrow(2, 0, kDim / 2), b = x.narrow(2, kDim / 2, kDim / 2);
    return at::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, 2);
  }
  at::Tensor attended(const at::Tensor& read, std::int64_t rows) const {
    const auto heads = [&](const char* name, std::int64_t count) {
      return times(read, layout_.stem + "self_attn." + name).view({rows, count, kDim});
    };
    const at::Tensor q = turned(heads("q_proj", kHeads)), k = turned(heads("k_proj", kKeys)),
                     v = heads("v_proj", kKeys);
    const at::Tensor later = at::ones({rows, rows}, at::kDouble).triu(1) * -1e30;
    std::vector<at::Tensor> out;
    for (std::int64_t head = 0; head < kHeads; ++head) {
      const std::int64_t of = head * kKeys / kHeads;
      const at::Tensor scores = at::matmul(q.select(1, head), k.select(1, of).t()) / std::sqrt(double{kDim}) + later;
      out.push_back(at::matmul(at::softmax(scores, -1), v.select(1, of)));
    }
    return times(at::cat(out, 1), layout_.stem + "self_attn.o_proj");
  }

  Layout layout_;
  HeadTensors t_;
};

at::Tensor said_by(const Eagle3Head& head, TokenSpan tokens, const at::Tensor& features) {
  const auto cache = head.make_cache(static_cast<int>(tokens.size()));
  const ForwardItem item{head.fuse(tokens, features), ChainShape{}, cache.get(), LogitRows::None};
  return head.forward(std::span(&item, 1));
}

double most_apart(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST_CASE("heads in the published layouts compute the paper's formula, whatever norms they ask for", "[eagle3]") {
  const c10::InferenceMode inference;
  const auto target = real_target();
  const std::string two = R"("eagle_aux_hidden_state_layer_ids": [1, 3])";
  for (const Layout& layout :
       {Layout{}, Layout{.stem = "layers.0.", .flags = R"("norm_before_residual": true, "norm_before_fc": true)"},
        Layout{.stem = "layers.0.", .states = 2, .flags = R"("fc_norm": true, "norm_output": true)", .named = two}}) {
    INFO(config_of(layout));
    const TemporaryFolder folder;
    const HeadTensors tensors = published_eagle3(layout);
    write_eagle3(folder.path(), layout, tensors);
    const Eagle3Head head = Eagle3Head::load(folder.path(), target);
    CHECK(static_cast<int>(head.aux_states().size()) == layout.states);
    CHECK(Tokens(head.target_ids().begin(), head.target_ids().end()) == kDrafted);
    const Reference reference(layout, tensors);
    const at::Tensor states = at::randn({5, layout.states * kWide});
    const Tokens tokens = {3, 1, 4, 1, 5};
    const at::Tensor features = head.condition(states);
    CHECK(most_apart(features, reference.condition(states)) < 1e-4);
    const at::Tensor said = said_by(head, tokens, features);
    CHECK(most_apart(said, reference.forward(tokens, features.to(at::kDouble))) < 1e-4);
    CHECK(most_apart(head.logits(said), reference.logits(said.to(at::kDouble))) < 1e-4);
    // A draft's step reads what was said as it is.
    const at::Tensor more = at::cat({features, said[4].unsqueeze(0)});
    const Tokens six = {3, 1, 4, 1, 5, 9};
    CHECK(most_apart(said_by(head, six, more), reference.forward(six, more.to(at::kDouble))) < 1e-4);
  }
}

TEST_CASE("the states that a head reads are the named ones, else those of the published heads", "[eagle3]") {
  const auto parse = [](const std::string& more) {
    return parse_eagle3_config(join({inner_config(), R"("draft_vocab_size": 6)", more}), "config.json");
  };
  CHECK(read_states(parse(""), 3, 32, "f") == std::vector<int>{2, 16, 29});
  CHECK(read_states(parse(R"("eagle_aux_hidden_state_layer_ids": [1, 9])"), 2, 32, "f") == std::vector<int>{1, 9});
  // SGLang names the layers whose output is read: 2, 47 and 91 of 94 layers, as above.
  CHECK(read_states(parse(R"("eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 46, 90]})"), 3, 94, "f") ==
        std::vector<int>{2, 47, 91});
  CHECK_THROWS_WITH(read_states(parse(""), 4, 32, "f"), Catch::Contains("reads 4 states of the target, and nothing"));
  CHECK_THROWS_WITH(read_states(parse(""), 3, 3, "f"), Catch::Contains("need at least 4 layers: the target has 3"));
  CHECK_THROWS_WITH(read_states(parse(R"("eagle_aux_hidden_state_layer_ids": [1, 9])"), 3, 32, "f"),
                    Catch::Contains("reads 3 states of the target, config.json names 2"));
  CHECK_THROWS_WITH(read_states(parse(R"("eagle_aux_hidden_state_layer_ids": [33])"), 1, 32, "f"),
                    Catch::Contains("the state behind layer 33, the target has 32 layers"));
  CHECK_THROWS_WITH(parse(R"("eagle_aux_hidden_state_layer_ids": [-1])"), Catch::Contains("holds -1"));
  CHECK_THROWS_WITH(parse(R"("norm_before_fc": true, "fc_norm": true)"), Catch::Contains("both true"));
  CHECK(parse("").layers.rope.theta == kTheta);
  // The base is the head's own, 10000 where its file names none.
  const std::string plain = R"({"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "vocab_size": 16,
      "num_attention_heads": 4, "num_hidden_layers": 1})";
  CHECK(parse_eagle3_config(plain, "config.json").layers.rope.theta == 10000);
  CHECK(parse_eagle3_config(plain, "config.json").draft_vocab == 16);
  Eagle3Config config = parse(R"("fc_norm": true, "eagle_aux_hidden_state_layer_ids": [1, 2, 3])");
  const Eagle3Config again = parse_eagle3_config(eagle3_config_json(config), "again.json");
  CHECK((again.states == config.states && again.fc_norm && !again.norm_output && again.draft_vocab == 6));
}

TEST_CASE("EAGLE-3 heads that do not fit are refused in one line that names the tensor", "[eagle3]") {
  const auto target = real_target();
  const TemporaryFolder folder;
  const auto refused = [&](const HeadTensors& tensors, const std::string& with, const Layout& layout = {},
                           const std::vector<NewTensor>& vocabulary = vocabulary_tensors(kDrafted, kRealVocab)) {
    write_eagle3(folder.path(), layout, tensors, vocabulary);
    CHECK_THROWS_WITH(Eagle3Head::load(folder.path(), target), Catch::Contains(with) && !Catch::Contains("\n"));
  };
  const HeadTensors whole = published_eagle3({});
  const auto without = [&](const std::string& name) {
    HeadTensors out = whole;
    out.erase(name);
    return out;
  };
  const auto with = [&](const std::string& name, const at::Tensor& value) {
    HeadTensors out = whole;
    out[name] = value;
    return out;
  };
  refused(without("midlayer.hidden_norm.weight"), "tensor 'midlayer.hidden_norm.weight' is missing");
  refused(without("fc.weight"), "tensor 'fc.weight' is missing");
  refused(without("lm_head.weight"), "tensor 'lm_head.weight' is missing");
  refused(with("layers.0.mlp.up_proj.weight", at::ones({1})),
          "'layers.0.mlp.up_proj.weight' is no tensor of an EAGLE-3");
  refused(with("fc.weight", at::ones({kWide, 40})), "'fc.weight' is [32, 40], expected [32, a multiple of 32]");
  refused(with("fc.weight", at::ones({kWide, 2 * kWide})), "reads 2 states of the target, config.json names 3");
  refused(with("lm_head.weight", at::ones({5, kWide})), "'lm_head.weight' is [5, 32], expected [6, 32]");
  refused(whole, "tensor 'input_norm.weight' is missing", {.flags = R"("norm_before_fc": true)"});
  refused(whole, "tensor 'd2t' is missing: the head has 6 of the target's 16 tokens", {}, {});
  std::vector<NewTensor> vocabulary = vocabulary_tensors(std::vector<Token>{0, 3, 4, 9, 9, 15}, kRealVocab);
  refused(whole, "'d2t' makes 3 and 4 the same token 9", {}, vocabulary);
  vocabulary = vocabulary_tensors(std::vector<Token>{0, 3, 4, 9, 12, 17}, kRealVocab + 9);
  refused(whole, "'d2t' of 5 is 12: token 5 + 12 is none of the target's 16", {}, vocabulary);
  // Ids where offsets belong: every second token, which t2d contradicts.
  vocabulary = vocabulary_tensors(std::vector<Token>{0, 2, 4, 6, 8, 10}, kRealVocab);
  vocabulary[1] = vocabulary_tensors(std::vector<Token>{0, 1, 2, 3, 4, 5}, kRealVocab)[1];
  refused(whole, "'t2d' says that the draft has token 1, 'd2t' says that it lacks", {}, vocabulary);

  // A head of all tokens needs neither; one that is as wide as the target has its embedding.
  const Layout all{.draft_vocab = kRealVocab};
  HeadTensors tensors = published_eagle3(all);
  tensors.erase("embed_tokens.weight");
  tensors["midlayer.self_attn.rotary_emb.inv_freq"] = at::randn({4});
  write_eagle3(folder.path(), all, tensors, {});
  CHECK(Eagle3Head::load(folder.path(), target).target_ids().empty());
}

}  // namespace
}  // namespace foretell::testing
