#include "framework/cost/model_costs.h"

#include <string>

#include "tests/support/catch.h"
#include "tests/support/data.h"

using namespace foretell;

namespace {

// Two layers of 4 query heads on 2 key heads of 2: a layer's matrices hold 8 (8 + 4 + 4 + 8) + 3 * 8 * 16 = 576
// numbers, a table 10 * 8.
const ModelShape kSmall = {
    .vocab = 10, .hidden = 8, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 2, .intermediate = 16};
const ModelShape kLlama7b = {.vocab = 32000,
                             .hidden = 4096,
                             .layers = 32,
                             .heads = 32,
                             .kv_heads = 32,
                             .head_dim = 128,
                             .intermediate = 11008,
                             .weight_bytes = 2,
                             .head_bytes = 2,
                             .cache_bytes = 2};

}  // namespace

TEST_CASE("parameters of a small model, counted by hand") {
  CHECK(parameter_count(kSmall) == 2 * 576 + 2 * 80);
  CHECK(active_parameter_count(kSmall) == 2 * 576 + 80);
  CHECK(stored_weight_bytes(kSmall) == 4 * (2 * 576 + 2 * 80));
  ModelShape tied = kSmall;
  tied.tied_head = true;
  tied.gated_mlp = false;
  CHECK(parameter_count(tied) == 2 * (192 + 2 * 8 * 16) + 80);
}

TEST_CASE("one forward of a small model, counted by hand") {
  // 3 rows after 5 tokens attend to 6 + 7 + 8 = 21 of them, 4 * 4 * 2 operations a pair and layer.
  const ForwardCost cost = forward_cost(kSmall, 3, 5);
  CHECK(cost.operations == 2 * (2 * 576 * 3 + 32 * 21) + 2 * 80 * 3);
  CHECK(cost.weight_bytes == 4 * (2 * 576 + 80 + 3 * 8));
  CHECK(cost.cache_read_bytes == 2 * 2 * 2 * 2 * 5 * 4);
  CHECK(cost.cache_written_bytes == 2 * 2 * 2 * 2 * 3 * 4);
  CHECK(cost.intensity() == Approx(cost.operations / (cost.weight_bytes + 512)));
  const ForwardCost prefill = forward_cost(kSmall, 3, 5, 0);
  CHECK(prefill.operations == 2 * (2 * 576 * 3 + 32 * 21));
  CHECK(prefill.weight_bytes == 4 * (2 * 576 + 3 * 8));
}

TEST_CASE("the shape of Llama 2 7B has the operations and bytes that its papers' arithmetic gives") {
  CHECK(parameter_count(kLlama7b) == 6738149376.0);  // 6,738,415,616 less 65 norms of 4096
  CHECK(stored_cache_bytes(kLlama7b, 1) == 524288);  // half a MiB a token
  // A token that attends to 1024 others with itself: two operations a number of its matrices, and 4 * 4096 * 1024 in
  // each of 32 layers.
  CHECK(forward_cost(kLlama7b, 1, 1023).operations == 2 * 6607077376.0 + 32 * 4.0 * 4096 * 1024);
}

TEST_CASE("more rows touch more experts, and what they touch is read") {
  CHECK(expected_experts(8, 2, 1) == Approx(2));
  CHECK(expected_experts(8, 2, 4) == Approx(5.46875));
  CHECK(expected_experts(64, 8, 5) == Approx(31.17).epsilon(1e-3));
  CHECK(expected_experts(1, 1, 7) == 1);
  ModelShape moe = kSmall;
  moe.experts = 8;
  moe.active_experts = 2;
  moe.shared_experts = 1;
  // Attention 192, router 64, an expert 384.
  CHECK(parameter_count(moe) == 2 * (192 + 64 + 9 * 384) + 160);
  CHECK(active_parameter_count(moe) == 2 * (192 + 64 + 3 * 384) + 80);
  CHECK(forward_cost(moe, 4, 0).weight_bytes == Approx(4 * (2 * (192 + 64 + (5.46875 + 1) * 384) + 80 + 4 * 8)));
}

TEST_CASE("the peak of a process is read from its status, or absent") {
  const foretell::testing::TemporaryFolder folder;
  const auto peak_of = [&](const std::string& text) { return peak_process_bytes(folder.write("status", text)); };
  CHECK(*peak_of("Name:\tforetell\nVmPeak:\t  900 kB\nVmHWM:\t  12 kB\n") == 12288);
  CHECK_FALSE(peak_of("VmHWM:\t  12 MB\n"));
  CHECK_FALSE(peak_of("VmHWM:\t  -12 kB\n"));
  CHECK_FALSE(peak_of("VmHWM:\n"));
  CHECK_FALSE(peak_of(""));
  CHECK_FALSE(peak_process_bytes(folder.path() / "nowhere"));
  CHECK_FALSE(peak_process_bytes(folder.path()));
}

TEST_CASE("memory splits into weights, caches and what is left of the process") {
  CHECK(*MemoryUse{.weights = 10, .caches = 3, .process = 20}.rest() == 7);
  CHECK(*MemoryUse{.weights = 30, .caches = 3, .process = 20}.rest() == 0);
  CHECK_FALSE(MemoryUse{.weights = 10, .caches = 3}.rest());
}
