#include "framework/formats/int4_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <list>
#include <map>
#include <numeric>

#include "framework/core/error.h"
#include "framework/formats/model_config.h"
#include "framework/kernels/int4_matrix.h"
#include "tests/model/helpers.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using namespace testing;
using Layout = formats::Int4Storage::Layout;

// What a file of one of the layouts holds, packed by another hand than the reader's.
class Packed {
 public:
  // `q` [out, in] in the matrix's own order; group_of[i] is input i's.
  Packed(const std::string& stem, const kernels::Int4Values& values, const std::vector<int>& group_of, Layout layout)
      : stem_(stem), outputs_(values.q.size(0)), inputs_(values.q.size(1)), groups_(values.scales.size(1)) {
    const auto* q = values.q.const_data_ptr<std::uint8_t>();
    const auto* zeros = values.zeros.const_data_ptr<std::uint8_t>();
    const bool awq = layout == Layout::Awq;
    std::vector<std::uint32_t> weights(static_cast<std::size_t>(outputs_ * inputs_ / 8)),
        points(static_cast<std::size_t>(groups_ * outputs_ / 8)), order(group_of.begin(), group_of.end());
    std::vector<float> scales(static_cast<std::size_t>(groups_ * outputs_));
    const int awq_place[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // of output 0, 1, 2 ...
    for (std::int64_t o = 0; o < outputs_; ++o) {
      const int in_word = awq ? awq_place[o % 8] : static_cast<int>(o % 8);
      for (std::int64_t i = 0; i < inputs_; ++i) {
        const std::uint32_t number = q[o * inputs_ + i];
        if (awq)
          weights[i * outputs_ / 8 + o / 8] |= number << (4 * in_word);
        else
          weights[i / 8 * outputs_ + o] |= number << (4 * (i % 8));
      }
      for (std::int64_t g = 0; g < groups_; ++g) {
        const std::uint32_t zero = zeros[o * groups_ + g] - (layout == Layout::Gptq ? 1u : 0u);
        points[g * outputs_ / 8 + o / 8] |= (zero & 15u) << (4 * in_word);
        scales[g * outputs_ + o] = values.scales.const_data_ptr<float>()[o * groups_ + g];
      }
    }
    const auto packed = awq ? std::vector{inputs_, outputs_ / 8} : std::vector{inputs_ / 8, outputs_};
    add("qweight", StoredType::I32, packed, weights);
    add("qzeros", StoredType::I32, {groups_, outputs_ / 8}, points);
    add("scales", StoredType::F32, {groups_, outputs_}, scales);
    if (!awq) add("g_idx", StoredType::I32, {inputs_}, order);
  }

  StoredTensors tensors() const {
    StoredTensors out;
    for (const auto& [name, part] : parts_)
      out[stem_ + "." + name] = {part.type, part.shape, std::as_bytes(std::span(part.bytes))};
    return out;
  }

 private:
  struct Part {
    StoredType type;
    std::vector<std::int64_t> shape;
    std::string bytes;
  };
  template <class T>
  void add(const std::string& name, StoredType type, std::vector<std::int64_t> shape, const std::vector<T>& values) {
    parts_[name] = {type, std::move(shape),
                    std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T))};
  }

  std::string stem_;
  std::int64_t outputs_, inputs_, groups_;
  std::map<std::string, Part> parts_;
};

kernels::Int4Values random_values(std::int64_t outputs, std::int64_t inputs, int group) {
  kernels::Int4Values values;
  values.group = group;
  values.q = at::randint(16, {outputs, inputs}, at::kByte);
  values.scales = at::randn({outputs, inputs / group}).to(at::kHalf).to(at::kFloat);
  values.zeros = at::randint(1, 16, {outputs, inputs / group}, at::kByte);
  return values;
}

std::vector<int> group_of(std::int64_t inputs, int group, bool shuffled) {
  std::vector<int> out(static_cast<std::size_t>(inputs));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<int>(i) / group;
  std::mt19937 random(3);
  if (shuffled) std::shuffle(out.begin(), out.end(), random);
  return out;
}

TEST_CASE("GPTQ's and AWQ's 4-bit weights are read as another hand packed them") {
  for (const Layout layout : {Layout::Gptq, Layout::GptqV2, Layout::Awq}) {
    for (const bool shuffled : {false, true}) {
      if (shuffled && layout == Layout::Awq) continue;
      const std::int64_t outputs = 24, inputs = 64;
      const kernels::Int4Values values = random_values(outputs, inputs, 16);
      const std::vector<int> groups = group_of(inputs, 16, shuffled);
      const Packed packed("m", values, groups, layout);
      const formats::Int4Storage storage{layout, 16};
      const StoredTensors tensors = packed.tensors();
      REQUIRE(formats::has_int4(tensors, "m"));
      const formats::Int4Tensors read =
          formats::read_int4(formats::find_int4(tensors, "m", outputs, inputs, storage, "f"), storage, "m", "f");
      CHECK(read.order.empty() == !shuffled);
      std::vector<std::int64_t> order = read.order;
      if (order.empty()) {
        order.resize(inputs);
        std::iota(order.begin(), order.end(), 0);
      }
      for (std::int64_t o = 0; o < outputs; ++o) {
        for (std::int64_t i = 0; i < inputs; ++i) {
          CHECK(groups[order[i]] == i / 16);
          CHECK(read.q[o * inputs + i] == values.q.const_data_ptr<std::uint8_t>()[o * inputs + order[i]]);
        }
        for (std::int64_t g = 0; g < 4; ++g) {
          CHECK(read.zeros[o * 4 + g] == values.zeros.const_data_ptr<std::uint8_t>()[o * 4 + g]);
          CHECK(read.scales[o * 4 + g] == values.scales.const_data_ptr<float>()[o * 4 + g]);
        }
      }
    }
  }
}

TEST_CASE("4-bit weights that do not fit are one line") {
  const kernels::Int4Values values = random_values(16, 32, 16);
  const auto refused = [](const StoredTensors& tensors, Layout layout, int group) {
    const formats::Int4Storage storage{layout, group};
    try {
      formats::read_int4(formats::find_int4(tensors, "m", 16, 32, storage, "f"), storage, "m", "f");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("read");
  };
  const std::vector<int> groups = group_of(32, 16, false);
  const Packed packed("m", values, groups, Layout::Gptq);
  CHECK(refused(packed.tensors(), Layout::Gptq, 16) == "read");
  CHECK_THAT(refused(packed.tensors(), Layout::Gptq, 8), Catch::Contains("qzeros' has shape"));
  CHECK_THAT(refused(packed.tensors(), Layout::Gptq, 24), Catch::Contains("groups of 24 do not fit"));
  CHECK_THAT(refused(packed.tensors(), Layout::Awq, 16), Catch::Contains("qweight' has shape"));
  StoredTensors without = packed.tensors();
  without.erase("m.scales");
  CHECK_THAT(refused(without, Layout::Gptq, 16), Catch::Contains("m.scales' [2, 16] is missing"));
  StoredTensors other = packed.tensors();
  other["m.qzeros"].type = StoredType::F32;
  CHECK_THAT(refused(other, Layout::Gptq, 16), Catch::Contains("I32 was expected"));
  for (const int wrong : {1, 2, -1}) {
    std::vector<int> uneven = groups;
    uneven[0] = wrong;
    CHECK_THAT(refused(Packed("m", values, uneven, Layout::Gptq).tensors(), Layout::Gptq, 16),
               Catch::Contains("2 groups of 16 inputs each"));
  }
  kernels::Int4Values endless = random_values(16, 32, 16);
  endless.scales.mutable_data_ptr<float>()[3] = INFINITY;
  CHECK_THAT(refused(Packed("m", endless, groups, Layout::Gptq).tensors(), Layout::Gptq, 16),
             Catch::Contains("has inf for output 1"));
}

TEST_CASE("quantization_config says what can be read") {
  const auto config = [](const std::string& text) {
    return formats::parse_model_config(llama_config(R"("quantization_config": )" + text), "config.json");
  };
  const auto gptq = config(R"({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": true})").int4;
  CHECK((gptq && gptq->layout == Layout::Gptq && gptq->group == 128));
  CHECK(
      config(R"({"quant_method": "gptq", "bits": 4, "group_size": -1, "checkpoint_format": "gptq_v2"})").int4->layout ==
      Layout::GptqV2);
  CHECK(config(R"({"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm"})").int4->layout ==
        Layout::Awq);
  const auto refused = [&](const std::string& text, const std::string& why) {
    CHECK_THROWS_WITH(config(text), Catch::Contains("quantization_config") && Catch::Contains(why));
  };
  refused(R"({"quant_method": "gptq"})", "bits' is missing; 4 is read");
  refused(R"({"quant_method": "gptq", "bits": 8})", "is 8; 4 is read");
  refused(R"({"quant_method": "awq", "bits": 4, "version": "gemv"})", "is 'gemv'; gemm is read");
  refused(R"({"quant_method": "gptq", "bits": 4, "group_size": 20})", "multiple of 8");
  refused(R"({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"})", "gptq or gptq_v2");
}

// A folder whose layers' matrices are packed, and one with the numbers that they stand for.
struct Folders {
  TemporaryFolder plain, packed;
};

void write_both(const Folders& folders, Layout layout, bool shuffled) {
  const std::string shape =
      R"("num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8)";
  make_model(folders.plain.path(), llama_config(shape), 7);
  const auto stored = formats::Checkpoint::open(folders.plain.path());
  StoredTensors plain, packed;
  std::list<Packed> held;
  std::list<at::Tensor> weights;
  for (const auto& [name, tensor] : stored.tensors()) {
    plain[name] = packed[name] = tensor;
    if (name.find("_proj.weight") == std::string::npos) continue;
    kernels::Int4Values values = kernels::rounded_to_int4(to_tensor(tensor), {.group = 16, .zero_points = true});
    values.zeros = values.zeros.clamp(1, 15);
    const std::vector<int> groups = group_of(values.q.size(1), 16, shuffled);
    // Each input with the scale and zero of its own group.
    const at::Tensor index = at::empty({values.q.size(1)}, at::kLong);
    std::copy(groups.begin(), groups.end(), index.mutable_data_ptr<std::int64_t>());
    weights.push_back(values.q.to(at::kFloat)
                          .sub(values.zeros.to(at::kFloat).index_select(1, index))
                          .mul(values.scales.index_select(1, index))
                          .contiguous());
    plain[name].bytes = {static_cast<const std::byte*>(weights.back().const_data_ptr()), weights.back().nbytes()};
    held.emplace_back(name.substr(0, name.size() - 7), values, groups, layout);
    packed.erase(name);
    packed.merge(held.back().tensors());
  }
  formats::write_safetensors(folders.packed.path() / "model.safetensors", packed);
  const std::string method = layout == Layout::Awq ? R"({"quant_method": "awq", "bits": 4, "group_size": 16})"
                                                   : R"({"quant_method": "gptq", "bits": 4, "group_size": 16})";
  std::ofstream(folders.packed.path() / "config.json") << llama_config(shape + R"(, "quantization_config": )" + method);
  formats::write_safetensors(folders.plain.path() / "new.safetensors", plain);
  std::filesystem::rename(folders.plain.path() / "new.safetensors", folders.plain.path() / "model.safetensors");
}

TEST_CASE("a model of 4-bit weights computes what the weights stand for") {
  for (const auto& [layout, shuffled] : {std::pair(Layout::Gptq, false), {Layout::Gptq, true}, {Layout::Awq, false}}) {
    const Folders folders;
    write_both(folders, layout, shuffled);
    const auto expected = load_model(folders.plain.path()), found = load_model(folders.packed.path());
    std::mt19937 random(5);
    const Tokens tokens = random_tokens(7, expected->config().vocab_size, random);
    const at::Tensor logits = logits_of(*expected, tokens);
    CHECK(max_difference(logits_of(*found, tokens), logits) < 1e-3f * logits.abs().max().item<float>());
    CHECK_THROWS_WITH(load_model(folders.packed.path(), {.dtype = {}, .int8 = true}),
                      Catch::Contains("4-bit weights already"));
    CHECK_THROWS_WITH(load_model(folders.packed.path(), {.dtype = at::kDouble}), Catch::Contains("f32 or bf16"));
  }
}

}  // namespace
}  // namespace foretell
