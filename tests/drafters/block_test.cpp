// Heads that draft a block at once, against the papers' formulas written out for one text at a time: in chains, trees
// and batches a draft follows from the committed text alone. And the layouts that they are published in.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <fstream>
#include <limits>

#include "experiments/certify/checks.h"
#include "experiments/certify/real_model.h"
#include "framework/formats/safetensors.h"
#include "framework/model/heads/block_head.h"
#include "framework/model/stored_values.h"
#include "tests/drafters/recording.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell::testing {
namespace {

using namespace certify;
using model::heads::BlockConfig;
using model::heads::BlockHead;
using model::heads::HeadTensors;
using model::heads::kFinalState;
using model::heads::MarkovKind;

constexpr double kBlockTemperature = 2.5;

// A head as its papers define it.
class BlockFormula {
 public:
  BlockFormula(BlockConfig config, HeadTensors tensors, const LanguageModel& target)
      : c_(std::move(config)), t_(std::move(tensors)), target_(target) {}

  // The normed states of a block's slots behind `text`, whose last token is the root. states [text - 1, width].
  at::Tensor slots(TokenSpan text, const at::Tensor& states) const {
    const auto n = static_cast<std::int64_t>(text.size());
    const at::Tensor context = norm(at::linear(states, t_.at("fc.weight")), "hidden_norm.weight");
    Tokens block(static_cast<std::size_t>(c_.block_size), c_.mask);
    block[0] = text.back();
    at::Tensor x = target_.parts()->embed(block);
    for (int layer = 0; layer < c_.layers.num_layers; ++layer) {
      const std::string stem = fmt::format("layers.{}.", layer);
      x = x + between(stem + "attention_conv", norm(x, stem + "input_layernorm.weight"),
                      [&](const at::Tensor& rows) { return attention(layer, rows, context, n - 1); });
      x = x +
          between(stem + "mlp_conv", norm(x, stem + "post_attention_layernorm.weight"), [&](const at::Tensor& rows) {
            return at::linear(at::silu(at::linear(rows, t_.at(stem + "mlp.gate_proj.weight"))) *
                                  at::linear(rows, t_.at(stem + "mlp.up_proj.weight")),
                              t_.at(stem + "mlp.down_proj.weight"));
          });
    }
    return norm(x, "norm.weight");
  }

  // The logits at `depth` behind these drafted tokens.
  at::Tensor logits(const at::Tensor& slots, Token root, TokenSpan path) const {
    const auto depth = static_cast<std::int64_t>(path.size()) + 1;
    const std::int64_t first = c_.from_anchor ? 0 : 1;
    const at::Tensor h = slots[first + depth - 1];
    at::Tensor out = target_.parts()->head().logits(h.unsqueeze(0))[0];
    Tokens before{root};
    before.insert(before.end(), path.begin(), path.end());
    if (c_.markov != MarkovKind::None)
      out = out + at::matmul(t_.at("markov_head.markov_w2.weight"), markov(slots.narrow(0, first, depth), before));
    if (c_.selector_rank == 0) return out;
    const at::Tensor ph = at::matmul(t_.at("candidate_selector.hidden_projection.weight"), h);
    const at::Tensor pair = at::matmul(t_.at("candidate_selector.successor_codebook"),
                                       t_.at("candidate_selector.predecessor_codebook")[before.back()] * ph);
    const at::Tensor best = std::get<1>(out.topk(c_.selector_top_k));
    at::Tensor kept = at::full_like(out, -std::numeric_limits<float>::infinity());
    for (std::int64_t i = 0; i < best.size(0); ++i) {
      const std::int64_t b = best[i].item<std::int64_t>();
      kept[b] = out[b] + pair[b];
    }
    return kept;
  }

 private:
  at::Tensor norm(const at::Tensor& x, const std::string& gain) const {
    return x / (x.square().mean(-1, true) + c_.layers.norm_eps).sqrt() * t_.at(gain);
  }

  // rows [n, heads, dim] at positions from `first` on.
  at::Tensor rotated(const at::Tensor& rows, std::int64_t first) const {
    const std::int64_t half = c_.layers.head_dim / 2;
    const at::Tensor frequencies =
        at::pow(c_.layers.rope.theta, at::arange(half).to(at::kDouble) * (-1.0 / static_cast<double>(half)));
    const at::Tensor angles = at::outer((at::arange(rows.size(0)) + first).to(at::kDouble), frequencies).unsqueeze(1);
    const at::Tensor cosines = angles.cos().to(at::kFloat), sines = angles.sin().to(at::kFloat);
    const at::Tensor a = rows.narrow(2, 0, half), b = rows.narrow(2, half, half);
    return at::cat({a * cosines - b * sines, b * cosines + a * sines}, 2);
  }

  at::Tensor attention(int layer, const at::Tensor& rows, const at::Tensor& context, std::int64_t start) const {
    const std::string stem = fmt::format("layers.{}.self_attn.", layer);
    const std::int64_t dim = c_.layers.head_dim, groups = c_.layers.group_size();
    const auto heads = [&](const at::Tensor& x, const char* part) {
      return at::linear(x, t_.at(stem + part)).view({x.size(0), -1, dim});
    };
    const at::Tensor all = at::cat({context, rows});
    const at::Tensor q = rotated(norm(heads(rows, "q_proj.weight"), stem + "q_norm.weight"), start);
    const at::Tensor k =
        rotated(norm(heads(all, "k_proj.weight"), stem + "k_norm.weight"), 0).repeat_interleave(groups, 1);
    const at::Tensor v = heads(all, "v_proj.weight").repeat_interleave(groups, 1);
    at::Tensor seen = at::ones({rows.size(0), all.size(0)}, at::kBool);
    for (std::int64_t i = 0; i < rows.size(0); ++i)
      for (std::int64_t j = 0; j < all.size(0); ++j) {
        const bool ahead = j > start + i, far = start + i - j >= c_.layers.sliding_window;
        if ((ahead && c_.causal[static_cast<std::size_t>(layer)] != 0) || (far && c_.layers.is_windowed(layer)))
          seen[i][j] = false;
      }
    at::Tensor scores =
        at::matmul(q.transpose(0, 1), k.transpose(0, 1).transpose(1, 2)) / std::sqrt(static_cast<double>(dim));
    scores = scores.masked_fill(seen.logical_not(), -std::numeric_limits<float>::infinity());
    const at::Tensor out = at::matmul(at::softmax(scores, -1), v.transpose(0, 1)).transpose(0, 1);
    return at::linear(out.reshape({rows.size(0), -1}), t_.at(stem + "o_proj.weight"));
  }

  // DFlash2's convolutions before and behind a sublayer, both with kernels of what goes in.
  at::Tensor between(const std::string& stem, const at::Tensor& rows,
                     const std::function<at::Tensor(const at::Tensor&)>& sublayer) const {
    if (c_.conv_group == 0) return sublayer(rows);
    const std::int64_t hidden = rows.size(1);
    const at::Tensor own = at::linear(rows, t_.at(stem + ".kernel_projection.weight"))
                               .view({rows.size(0), 2, c_.conv_kernel, hidden / c_.conv_group});
    const auto convolved = [&](const at::Tensor& in, std::int64_t side) {
      at::Tensor out = at::zeros_like(in);
      for (std::int64_t t = 0; t < in.size(0); ++t)
        for (std::int64_t o = 0; o < c_.conv_kernel && o <= t; ++o)
          for (std::int64_t h = 0; h < hidden; ++h)
            out[t][h] += (t_.at(stem + ".base_kernel")[side][o][h] + own[t][side][o][h / c_.conv_group]) * in[t - o][h];
      return out;
    };
    return convolved(sublayer(convolved(rows, 0)), 1);
  }

  at::Tensor markov(const at::Tensor& slots, TokenSpan before) const {
    const at::Tensor& w1 = t_.at("markov_head.markov_w1.weight");
    const at::Tensor last = w1[before.back()], h = slots[slots.size(0) - 1];
    if (c_.markov == MarkovKind::Vanilla) return last;
    if (c_.markov == MarkovKind::Gated)
      return at::matmul(t_.at("markov_head.gate_proj.weight"), at::cat({h, last})).sigmoid() * last;
    at::Tensor s = at::zeros({c_.markov_rank}), o;
    for (std::size_t i = 0; i < before.size(); ++i) {
      const auto parts = at::matmul(t_.at("markov_head.joint_proj.weight"),
                                    at::cat({s, w1[before[i]], slots[static_cast<std::int64_t>(i)]}))
                             .chunk(3);
      const at::Tensor g = parts[0].sigmoid();
      s = g * s + (1 - g) * parts[1].tanh();
      o = parts[2].tanh();
    }
    return o;
  }

  BlockConfig c_;
  HeadTensors t_;
  const LanguageModel& target_;
};

// The target's states that the head reads, of all positions of a text.
at::Tensor block_states(const BlockConfig& config, const LanguageModel& target, TokenSpan text) {
  const auto cache = target.make_cache(static_cast<int>(text.size()));
  ForwardOptions options;
  options.return_final_state = true;
  for (const int place : config.places)
    if (place != kFinalState) options.aux_states.push_back(place);
  const auto result = target.forward({text, ChainShape{}, cache.get(), LogitRows::None}, options);
  std::vector<at::Tensor> parts;
  std::size_t next = 0;
  for (const int place : config.places)
    parts.push_back(place == kFinalState ? result.final_state : result.aux_states[next++]);
  return at::cat(parts, 1);
}

void write_block_folder(const std::filesystem::path& folder, const std::string& config, const HeadTensors& tensors) {
  std::ofstream(folder / "config.json") << config;
  std::vector<NewTensor> list;
  for (const auto& [name, value] : tensors) {
    if (value.scalar_type() != at::kLong) {
      list.push_back(stored_as(name, value, at::kFloat));
      continue;
    }
    list.push_back({name, formats::StoredType::I64, value.sizes().vec(), [value](std::span<std::byte> out) {
                      std::memcpy(out.data(), value.const_data_ptr(), out.size());
                    }});
  }
  write_safetensors(folder / "model.safetensors", list);
}

struct BlockCase {
  std::string drafter;  // its type
  BlockConfig config;
};

BlockConfig small_block(MarkovKind markov = MarkovKind::None, bool second = false, int window = 0) {
  BlockConfig config = model::heads::new_block_config(
      {.layers = 2, .block_size = 4, .window = window, .from_anchor = markov != MarkovKind::None},
      real_target()->config());
  if (markov != MarkovKind::None) {
    config.markov = markov;
    config.markov_rank = 6;
    config.confidence = config.confidence_reads_markov = true;
  }
  if (second) {
    config.conv_group = 8;
    config.conv_kernel = 3;
    config.selector_rank = 5;
    config.selector_top_k = 6;
  }
  if (window > 0) {
    config.layers.full_layers = {0};
    config.causal = {0, 1};
  }
  return config;
}

// Every drafted level against the formula.
void compare_block(const BlockCase& of, const std::string& tree, int batch) {
  const c10::InferenceMode inference;
  const auto target = real_target();
  const HeadTensors tensors = model::heads::random_block_tensors(of.config, 5, target->config());
  const TemporaryFolder folder;
  std::string config = model::heads::block_config_json(of.config, target->config());
  if (of.config.layers.sliding_window > 0) config.replace(config.find("\"is_causal\": false,"), 19, "");
  write_block_folder(folder.path(), config, tensors);
  const BlockFormula formula(of.config, tensors, *target);
  std::vector<Drafted> drafted;
  Setup setup = recorded(toy_setup(fmt::format("{{type: {}, head: \"{}\"}}", of.drafter, folder.path().string()),
                                   "rejection", tree, target),
                         drafted);
  std::vector<Request> requests;
  for (std::uint64_t id = 0; id < 4; ++id) {
    Request request{.id = id, .max_new_tokens = 8 + 4 * static_cast<int>(id), .seed = 2};
    for (std::uint64_t i = 0; i <= 4 * id; ++i) request.prompt.push_back(static_cast<Token>((5 * i + id) % 16));
    request.sampling.temperature = kBlockTemperature;
    requests.push_back(request);
  }
  run(setup, requests, {.batch = batch});
  int levels = 0, empty = 0;
  double worst = 0;
  for (const auto& [committed, tree_of] : drafted) {
    if (tree_of.size() == 1) {
      ++empty;
      continue;
    }
    const at::Tensor slots =
        formula.slots(committed, block_states(of.config, *target, TokenSpan(committed).first(committed.size() - 1)));
    for (NodeId node = 0; node < tree_of.size(); ++node) {
      if (tree_of.proposals(node).empty()) continue;
      const at::Tensor expected =
          at::softmax(formula.logits(slots, committed.back(), tree_of.path(node)) / kBlockTemperature, 0);
      const Distribution& q = tree_of.distribution(tree_of.proposals(node).front().distribution).q;
      for (Token token = 0; token < kRealVocab; ++token)
        worst = std::max(worst, std::abs(q[token] - static_cast<double>(expected[token].item<float>())));
      ++levels;
    }
  }
  CHECK(worst < 1e-4);
  CHECK(levels > 30);
  CHECK(empty >= 1);  // behind a prompt of one token there is no state yet
}

TEST_CASE("a block's levels are the papers' formulas of the committed text, in chains, trees and batches", "[block]") {
  for (const BlockCase& of :
       {BlockCase{"dflash", small_block()}, BlockCase{"dflash", small_block(MarkovKind::None, false, 6)},
        BlockCase{"dflash2", small_block(MarkovKind::None, true)},
        BlockCase{"dspark", small_block(MarkovKind::Vanilla)}, BlockCase{"dspark", small_block(MarkovKind::Gated)},
        BlockCase{"dspark", small_block(MarkovKind::Rnn)}}) {
    INFO(of.drafter << " " << static_cast<int>(of.config.markov) << " " << of.config.layers.sliding_window);
    compare_block(of, "", 1);
    compare_block(of, "{type: widths, widths: [3, 2, 1]}", 3);
  }
}

TEST_CASE("drafts of a block lose nothing: drawn, chosen, chains and trees", "[block]") {
  for (const auto& [drafter, tree] : std::vector<std::pair<const char*, const char*>>{
           {"{type: dflash, head: random, num_speculative_tokens: 3}", ""},
           {"{type: dflash, head: random, draft_sample_method: top_k}", "{type: ddtree, num_nodes: 4, max_depth: 2}"},
           {"{type: dflash2, head: random, num_speculative_tokens: 3}", ""},
           {"{type: dflash2, head: random}", "{type: widths, widths: [2, 1]}"},
           {"{type: dspark, head: random, num_speculative_tokens: 3, markov_head_type: rnn}", ""},
           {"{type: dspark, head: random, min_confidence: 0.3}", "{type: widths, widths: [2, 1]}"}}) {
    INFO(drafter << " " << tree);
    const Setup setup = toy_setup(drafter, "rejection", tree, real_target());
    const ExactFindings found = enumerate(setup, {.prompt = {1, 2, 1, 0}, .tokens = 3, .top_k = 3});
    CHECK(complaint_of(found).value_or("") == "");
    CHECK(check_real(setup, {.horizon = 64}).value_or("") == "");
  }
}

TEST_CASE("a draft ends where its confidence does", "[block]") {
  const auto drafted_tokens = [](double least) {
    std::vector<Drafted> drafted;
    Setup setup = recorded(toy_setup(fmt::format("{{type: dspark, head: random, min_confidence: {}}}", least),
                                     "rejection", "", real_target()),
                           drafted);
    run(setup, {Request{.prompt = {1, 2, 3}, .max_new_tokens = 24, .seed = 1}});
    int tokens = 0;
    for (const Drafted& draft : drafted) tokens += draft.tree.size() - 1;
    return static_cast<double>(tokens) / static_cast<double>(drafted.size());
  };
  const double all = drafted_tokens(0), some = drafted_tokens(0.2), none = drafted_tokens(1);
  CHECK(all > some);
  CHECK(some > none);
  CHECK(none == 0);
}

// ---- files

// The keys of z-lab's file of a DFlash2 head, at this width.
constexpr const char* kPublishedBlock =
    R"({"architectures": ["DFlash2DraftModel"], "model_type": "qwen3", "hidden_size": 32,
  "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
  "rms_norm_eps": 1e-5, "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}, "sliding_window": 2048,
  "use_sliding_window": true, "layer_types": ["sliding_attention", "sliding_attention"], "is_causal": false,
  "tie_word_embeddings": false, "num_target_layers": 4, "vocab_size": 16, "max_position_embeddings": 256,
  "dflash_config": {"block_size": 6, "conv_group_size": 16, "conv_kernel_size": 2, "final_logit_softcapping": 20.0,
    "mask_token_id": 13, "output_multiplier": 0.196, "selector_rank": 8, "selector_top_k": 16,
    "target_layer_ids": [0, 2, 3]}})";
// Of speculators: the layers' config by itself, and a vocabulary of its own.
constexpr const char* kSpeculatorsBlock = R"({"architectures": ["DFlashSpeculator"], "speculators_model_type": "dflash",
  "transformer_layer_config": {"model_type": "qwen3", "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 16,
    "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "sliding_window": 64, "use_sliding_window": true,
    "layer_types": ["sliding_attention"]},
  "draft_vocab_size": 5, "block_size": 4, "mask_token_id": 15, "aux_hidden_state_layer_ids": [1, 3, 4],
  "speculators_config": {"algorithm": "dflash"}, "sliding_window_non_causal": true})";
// Of DeepSpec: a DSpark head with embeddings and a head of its own.
constexpr const char* kDeepSpecBlock =
    R"({"architectures": ["Qwen3DSparkModel"], "model_type": "qwen3", "hidden_size": 32,
  "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8,
  "rms_norm_eps": 1e-6, "rope_theta": 1e6, "vocab_size": 16, "max_position_embeddings": 256, "block_size": 7,
  "mask_token_id": 15, "target_layer_ids": [-1, 1, 3], "num_anchors": 512, "markov_rank": 4,
  "markov_head_type": "gated", "enable_confidence_head": true, "confidence_head_with_markov": true})";

TEST_CASE("heads are read in the layouts of their authors", "[block]") {
  const c10::InferenceMode inference;
  const auto target = real_target();
  const auto parsed = [&](const char* text) {
    return model::heads::parse_block_config(text, "config.json", target->config());
  };
  const auto tensors_of = [&](const BlockConfig& config, bool own) {
    HeadTensors tensors = model::heads::random_block_tensors(config, 3, target->config());
    if (own) {
      tensors["embed_tokens.weight"] = at::randn({16, 32});
      tensors["lm_head.weight"] = at::randn({config.own_vocab ? config.draft_vocab : 16, 32});
    }
    return tensors;
  };
  const TemporaryFolder folder;

  const BlockConfig second = parsed(kPublishedBlock);
  CHECK(second.levels() == 5);
  CHECK(second.places == std::vector<int>{1, 3, kFinalState});
  CHECK(second.causal == std::vector<char>{0, 0});
  CHECK(second.layers.rope.theta == 500000.0);
  HeadTensors tensors = tensors_of(second, false);
  CHECK(tensors.at("layers.0.attention_conv.kernel_projection.weight").sizes() == at::IntArrayRef{8, 32});
  write_block_folder(folder.path(), kPublishedBlock, tensors);
  const BlockHead head = BlockHead::load(folder.path(), target);
  const at::Tensor states = at::randn({2, 32});
  const at::Tensor raw = target->parts()->head().logits(states) * 0.196;
  CHECK((head.logits(states) - (raw / 20).tanh() * 20).abs().max().item<float>() < 1e-5F);

  const BlockConfig spark = parsed(kDeepSpecBlock);
  CHECK(spark.levels() == 7);
  CHECK(spark.places == std::vector<int>{0, 2, kFinalState});
  write_block_folder(folder.path(), kDeepSpecBlock, tensors_of(spark, true));
  CHECK(BlockHead::load(folder.path(), target).conditional());
  CHECK_THROWS_WITH(
      toy_setup(fmt::format("{{type: dflash, head: \"{}\"}}", folder.path().string()), "rejection", "", target)
          .drafter(),
      Catch::Contains("this is a head of the drafter 'dspark'"));

  const BlockConfig reduced = parsed(kSpeculatorsBlock);
  CHECK(reduced.places == std::vector<int>{1, 3, kFinalState});
  CHECK(reduced.causal == std::vector<char>{0});
  CHECK(!reduced.from_anchor);
  tensors = tensors_of(reduced, true);
  tensors["d2t"] = at::arange(5) * 2 + 1;  // 0 to 1, 1 to 4, ...
  write_block_folder(folder.path(), kSpeculatorsBlock, tensors);
  const BlockHead small_head = BlockHead::load(folder.path(), target);
  CHECK(Tokens(small_head.target_ids().begin(), small_head.target_ids().end()) == Tokens{1, 4, 7, 10, 13});
  CHECK(small_head.logits(states).size(1) == 5);
  const Setup setup =
      toy_setup(fmt::format("{{type: dflash, head: \"{}\"}}", folder.path().string()), "rejection", "", target);
  CHECK(check_real(setup, {.horizon = 48}).value_or("") == "");
}

TEST_CASE("block heads that do not fit are refused in one line that names what is wrong", "[block]") {
  const auto target = real_target();
  const TemporaryFolder folder;
  const BlockConfig config = model::heads::parse_block_config(kPublishedBlock, "config.json", target->config());
  const auto refused = [&](const std::string& text, const HeadTensors& tensors, const std::string& with) {
    write_block_folder(folder.path(), text, tensors);
    CHECK_THROWS_WITH(BlockHead::load(folder.path(), target), Catch::Contains(with) && !Catch::Contains("\n"));
  };
  const HeadTensors whole = model::heads::random_block_tensors(config, 3, target->config());
  HeadTensors tensors = whole;
  tensors.erase("layers.1.mlp_conv.base_kernel");
  refused(kPublishedBlock, tensors, "tensor 'layers.1.mlp_conv.base_kernel' is missing");
  tensors = whole;
  tensors["layers.2.mlp.up_proj.weight"] = at::randn({48, 32});
  refused(kPublishedBlock, tensors, "'layers.2.mlp.up_proj.weight' is no tensor of a block head");
  tensors = whole;
  tensors["fc.weight"] = at::randn({32, 64});
  refused(kPublishedBlock, tensors, "'fc.weight' is [32, 64], expected [32, 96]");
  const auto changed = [](std::string from, const std::string& to) {
    std::string text = kPublishedBlock;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  refused(changed("\"target_layer_ids\": [0, 2, 3]", "\"target_layer_ids\": [0, 2, 4]"), whole,
          "'dflash_config.target_layer_ids' holds 4, the target has 4 layers");
  refused(changed("\"mask_token_id\": 13, ", ""), whole, "'mask_token_id' is missing");
  refused(changed("\"mask_token_id\": 13, ", "\"mask_token_id\": 16, "), whole, "the mask token is 16");
  refused(changed("\"block_size\": 6", "\"block_size\": 1"), whole, "block_size");
  refused(changed("\"model_type\": \"qwen3\"", "\"model_type\": \"gpt2\""), whole, "layers of qwen3 and llama");
  refused("{", whole, "config.json");
}

}  // namespace
}  // namespace foretell::testing
