// Learners of drafts that are made in one forward, masks in a draft model and blocks on the target's states, and of the
// prediction layer.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/log_softmax.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <fstream>
#include <map>

#include "framework/training/frozen_target.h"
#include "framework/training/learners/masked_rows.h"
#include "tests/support/catch.h"
#include "tests/training/learning.h"

namespace foretell {
namespace {

using learners::ConditionalDrop;
using learners::MaskedBatch;
using learners::with_masks;
using testing::check_acceptance, testing::check_gradients, testing::counting_target, testing::head_settings,
    testing::kCounting, testing::learn, testing::Learned, testing::some_batch;

TEST_CASE("a batch with masks: what is copied, and which rows a copy sees") {
  const TrainBatch batch = some_batch({});
  const auto host = [](const at::Tensor& t) { return t.to(at::kLong).contiguous(); };
  for (const bool all : {false, true}) {
    const MaskedBatch masked = with_masks(batch, {.depths = 4, .keep = 0.5, .least = 0.3, .all = all}, 60);
    const at::Tensor anchors = host(masked.anchors), depths = host(masked.depths), tokens = host(masked.rows.tokens);
    const at::Tensor positions = host(masked.rows.positions);
    std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> row_of;
    for (std::int64_t row = 0; row < tokens.size(0); ++row) {
      const auto anchor = anchors[row].item<std::int64_t>(), depth = depths[row].item<std::int64_t>();
      CHECK(row_of.emplace(std::pair{anchor, depth}, row).second);
      CHECK(positions[row].item<std::int64_t>() == batch.positions[anchor].item<std::int64_t>() + depth);
      CHECK(tokens[row].item<std::int64_t>() == (depth == 0 ? batch.tokens[anchor].item<std::int64_t>() : 60));
      if (depth > 0) CHECK(row_of.contains({anchor, depth - 1}));  // a copy's own masks are all there
    }
    // Depths are fewer and fewer, or all there are.
    std::vector<std::int64_t> counts(4, 0);
    for (const auto& [key, row] : row_of) ++counts[static_cast<std::size_t>(key.second)];
    CHECK(counts[0] == batch.tokens.size(0));
    if (all) {
      std::vector<std::int64_t> whole(4, 0);
      for (const RowGroup& group : batch.groups)
        for (std::size_t depth = 0; depth < 4; ++depth)
          whole[depth] += group.sequences * (group.length - static_cast<std::int64_t>(depth));
      CHECK(counts == whole);
    } else {
      CHECK(counts[1] < counts[0]);
      CHECK(counts[2] <= counts[1]);
      CHECK(counts[3] > 0);
    }
    for (const RowGroup& group : masked.rows.groups) {
      REQUIRE(group.bias.defined());
      for (std::int64_t i = 0; i < group.length; ++i)
        for (std::int64_t j = 0; j < group.length; ++j) {
          const auto at = [&](const at::Tensor& of, std::int64_t row) {
            return of[group.first_row + row].item<std::int64_t>();
          };
          const bool text = at(depths, j) == 0 && at(anchors, j) <= at(anchors, i);
          const bool own = at(anchors, j) == at(anchors, i) && at(depths, j) <= at(depths, i);
          CHECK((group.bias[i][j].item<float>() == 0) == (text || own));
        }
    }
    // The same batch has the same copies.
    CHECK(host(with_masks(batch, {.depths = 4, .keep = 0.5, .least = 0.3, .all = all}, 60).anchors).equal(anchors));
  }
}

struct ModelFile {
  testing::TemporaryFolder folder;
  ModelFile() { std::ofstream(folder.path() / "config.json") << testing::small_llama(); }
  TrainSettings settings(int steps) const {
    TrainSettings out = head_settings(steps);
    out.model.config = (folder.path() / "config.json").string();
    return out;
  }
};

// The mean cross-entropy of every row and mask, each by a forward of its own text.
TEST_CASE("pard: the loss is that of a forward for each mask") {
  const ModelFile file;
  const auto learned = learn("{type: pard, target: t, depths: 3, mask_token: 60}", file.settings(20), 2);
  const TrainBatch batch = some_batch({});
  const MaskedBatch masked = with_masks(batch, {.depths = 3}, 60);
  const auto model = learned->learner->snapshot();
  const c10::InferenceMode inference;
  double expected = 0, weight = 0;
  for (std::int64_t i = 0; i < masked.rows.loss_rows.size(0); ++i) {
    const std::int64_t row = masked.rows.loss_rows[i].item<std::int64_t>(),
                       anchor = masked.anchors[row].item<std::int64_t>(),
                       depth = masked.depths[row].item<std::int64_t>();
    const std::int64_t first = anchor - batch.positions[anchor].item<std::int64_t>();
    Tokens text;
    for (std::int64_t at = first; at <= anchor; ++at) text.push_back(batch.tokens[at].item<int>());
    text.insert(text.end(), static_cast<std::size_t>(depth), 60);
    const auto cache = model->make_cache(static_cast<int>(text.size()));
    const at::Tensor log_q =
        at::log_softmax(model->forward({TokenSpan(text), ChainShape{}, cache.get(), LogitRows::Last}).logits[0], 0);
    const double own = masked.rows.weights[i].item<double>();
    expected -= own * log_q[masked.rows.targets[i].item<std::int64_t>()].item<double>();
    weight += own;
  }
  CHECK(learned->learner->heldout_loss(batch) / batch.normaliser == Approx(expected / weight).epsilon(1e-4));
}

TEST_CASE("pard and pard2: derivatives, a loss that falls, and drafts that are accepted as the text says") {
  const ModelFile file;
  for (const auto& [section, steps] :
       {std::pair{"{type: pard, target: t, depths: 4}", 60},
        std::pair{"{type: pard2, target: t, depths: 4, layers: [-1, 1], scale: 0.1, state_dropout: 0.3}", 60}}) {
    INFO(section);
    const auto fresh = learn(section, file.settings(100), 1), learned = learn(section, file.settings(100), steps);
    check_gradients(*fresh, 0.04, 4e-4);
    TrainBatch rows = make_batch({kCounting.sample(100), kCounting.sample(101)}, at::kCPU);
    learned->prepare(rows);
    CHECK(learned->learner->heldout_loss(rows) < 0.6 * fresh->learner->heldout_loss(rows));
    check_acceptance(*learned, 4, 1.1, 5);
  }
}

TEST_CASE("block heads: derivatives, a loss that falls, and drafts that are accepted as the text says") {
  struct Case {
    const char* section;
    const char* smooth;  // what is left out of the derivative: terms whose targets depend on the weights
  };
  for (const auto& [section, smooth] :
       {Case{"type: dflash, target: t, layers: 2, block_size: 5, ce: 1", ""},
        Case{"type: dflash2, target: t, layers: 1, block_size: 4, conv_group_size: 8, selector_rank: 8, "
             "selector_top_k: 6",
             ", selector: 0"},
        Case{"type: dspark, target: t, layers: 1, block_size: 4, markov_rank: 8", ", confidence: 0"},
        Case{"type: dspark, target: t, layers: 1, block_size: 4, markov_rank: 8, markov_head_type: gated",
             ", confidence: 0"},
        Case{"type: dspark, target: t, layers: 1, block_size: 4, markov_rank: 8, markov_head_type: rnn",
             ", confidence: 0"}}) {
    INFO(section);
    const std::string whole = fmt::format("{{{}}}", section);
    check_gradients(*learn(fmt::format("{{{}{}}}", section, smooth), head_settings(100), 1), 0.05);
    const auto fresh = learn(whole, head_settings(100), 1), learned = learn(whole, head_settings(100), 50);
    TrainBatch rows = make_batch({kCounting.sample(100), kCounting.sample(101)}, at::kCPU);
    learned->prepare(rows);
    CHECK(learned->learner->heldout_loss(rows) < 0.7 * fresh->learner->heldout_loss(rows));
    check_acceptance(*learned, 4, 1.05, 5);
  }
}

TEST_CASE("mtp: the derivative is that of the loss, the loss falls, and drafts are accepted as the text says") {
  const std::string section = "{type: mtp, target: t, steps: 2, kl: 0.5}";
  const auto fresh = learn(section, head_settings(60), 1), learned = learn(section, head_settings(60), 40);
  check_gradients(*fresh, 0.03);
  TrainBatch rows = make_batch({kCounting.sample(100), kCounting.sample(101)}, at::kCPU);
  learned->prepare(rows);
  CHECK(learned->learner->heldout_loss(rows) < 0.6 * fresh->learner->heldout_loss(rows));
  check_acceptance(*learned, 4, 1.1, 5);
}

TEST_CASE("what a training file says of block heads and masks is checked at its line") {
  const ModelFile file;
  CHECK_THROWS_WITH(learn("{type: pard, target: t, mask_token: 61}", file.settings(1), 0),
                    Catch::Contains("learner.yaml:1") && Catch::Contains("the model has ids 0 to 60"));
  CHECK_THROWS_WITH(learn("{type: pard2, target: t, ce: 0, kl: 0}", file.settings(1), 0),
                    Catch::Contains("nothing is learned"));
  CHECK_THROWS_WITH(learn("{type: dflash, target: t, layer_ids: [0, 2]}", head_settings(1), 0),
                    Catch::Contains("learner.yaml:1") && Catch::Contains("the target has layers 0 to 1"));
  CHECK_THROWS_WITH(learn("{type: dflash2, target: t, conv_group_size: 5}", head_settings(1), 0),
                    Catch::Contains("does not divide the target's hidden size of 32"));
}

}  // namespace
}  // namespace foretell
