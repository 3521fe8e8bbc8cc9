// Attention policies by themselves: which rows they leave, worked out by hand.
#include "framework/api/attention_policy.h"
#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

using Rows = std::vector<int>;

std::unique_ptr<AttentionPolicy> policy(const std::string& yaml) {
  return Registry<AttentionPolicy>::instance().make(parse_yaml(yaml, "attention.yaml"), BuildContext{});
}

Rows seen(AttentionPolicy& policy, int cached, int kv_heads = 1, int layer = 0) {
  return policy.select_kv({layer, kv_heads, cached, 1}).rows;
}

// One query of layer 0, with one key head, on rows 0, 1, 2, ...
void look(AttentionPolicy& policy, int row, const std::vector<float>& weights, bool drafted = false) {
  Rows columns;
  for (std::size_t i = 0; i < weights.size(); ++i) columns.push_back(static_cast<int>(i));
  policy.observe({.layer = 0,
                  .kv_heads = 1,
                  .queries = 1,
                  .first_row = row,
                  .drafted = drafted,
                  .columns = columns,
                  .columns_per_head = false,
                  .weights = weights});
}

std::string message(const std::string& yaml) {
  try {
    policy(yaml);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("streaming sees the first positions and the newest ones") {
  const auto streaming = policy("{type: streaming, sinks: 2, window: 3}");
  CHECK(!streaming->wants_weights());
  CHECK(seen(*streaming, 1) == Rows{0});
  CHECK(seen(*streaming, 4) == Rows{0, 1, 2, 3});
  CHECK(seen(*streaming, 5) == Rows{0, 1, 3, 4});  // the row itself is the third of the window
  CHECK(seen(*streaming, 10) == Rows{0, 1, 8, 9});
  CHECK(seen(*policy("{type: streaming, start_size: 0, recent_size: 1}"), 10).empty());
  CHECK(seen(*policy("{type: streaming, sinks: 20, window: 4}"), 10).size() == 10);
}

TEST_CASE("h2o keeps the rows of the highest accumulated weights") {
  const auto h2o = policy("{type: h2o, heavy_hitters: 2, window: 2}");
  CHECK(h2o->wants_weights());
  look(*h2o, 0, {1.0F});
  look(*h2o, 1, {0.1F, 0.9F});
  look(*h2o, 2, {0.1F, 0.2F, 0.7F});
  look(*h2o, 3, {0.1F, 0.1F, 0.1F, 0.7F});
  look(*h2o, 4, {0.1F, 0.1F, 0.1F, 0.6F, 0.1F});
  // Sums: 1.4, 1.3, 0.9, 1.3, 0.1. Row 4 is in the window; of 0 to 3 the rows 0 and 1 are the heaviest, 3 has only as
  // much as 1.
  CHECK(seen(*h2o, 5) == Rows{0, 1, 4});
  // What row 5 looks at lifts 4 above 1. Rows 2 and 3 were passed over and stay away, whatever they would have had.
  const Rows columns{0, 1, 4, 5};
  const std::vector<float> weights{0.0F, 0.0F, 0.9F, 0.5F};
  const std::vector<float> later{0.1F, 0.0F, 0.9F, 0.0F};
  for (const auto* given : {&weights, &later})
    h2o->observe({.layer = 0,
                  .kv_heads = 1,
                  .queries = 1,
                  .first_row = 5,
                  .drafted = false,
                  .columns = columns,
                  .columns_per_head = false,
                  .weights = *given});
  CHECK(seen(*h2o, 6) == Rows{0, 4, 5});
  CHECK(seen(*h2o, 7) == Rows{0, 4, 6});
  CHECK(seen(*h2o->fresh(), 7) == Rows{0, 1, 6});  // no history: the earlier rows
}

TEST_CASE("h2o: key heads keep rows of their own") {
  const auto h2o = policy("{type: h2o, hh_size: 1, recent_size: 1}");
  const Rows columns{0, 1, 2};
  const std::vector<float> weights{0.2F, 0.5F, 0.3F, 0.1F, 0.1F, 0.8F};
  h2o->observe({.layer = 3,
                .kv_heads = 2,
                .queries = 1,
                .first_row = 2,
                .drafted = false,
                .columns = columns,
                .columns_per_head = false,
                .weights = weights});
  const KvSelection visible = h2o->select_kv({3, 2, 3, 1});
  CHECK(visible.per_head);
  CHECK(visible.rows == Rows{1, 2});
  CHECK(seen(*h2o, 3, 2, 0) == Rows{0, 0});  // another layer has seen nothing
}

TEST_CASE("h2o: drafted rows count once they are kept, and where they were moved to") {
  const auto make = [] {
    auto h2o = policy("{type: h2o, heavy_hitters: 1, window: 1}");
    look(*h2o, 0, {1.0F});
    look(*h2o, 1, {0.6F, 0.4F});
    return h2o;
  };
  // Rows 2, 3 and 4 are drafted: 3 and 4 both follow row 1, and only row 3 looks hard at row 1.
  const auto draft = [](AttentionPolicy& h2o) {
    look(h2o, 2, {0.0F, 0.0F, 1.0F}, true);
    look(h2o, 3, {0.0F, 3.0F, 0.0F, 1.0F}, true);
    look(h2o, 4, {0.0F, 0.0F, 0.0F, 9.0F, 2.5F}, true);
  };
  const auto rejected = make();
  draft(*rejected);
  CHECK(seen(*rejected, 2) == Rows{0});  // 1.6 against 0.4: nothing of the draft counts yet
  rejected->keep(2, {});
  CHECK(seen(*rejected, 2) == Rows{0});
  const auto accepted = make();
  draft(*accepted);
  accepted->keep(2, Rows{1});  // row 3 becomes row 2
  CHECK(seen(*accepted, 2) == Rows{1});
  const auto longer = make();
  draft(*longer);
  longer->keep(2, Rows{1, 2});  // row 4 becomes row 3 and had 9 for row 3, which is row 2 now: 10 in all
  CHECK(seen(*longer, 4) == Rows{2});
}

TEST_CASE("h2o follows a cache that is cut") {
  const auto h2o = policy("{type: h2o, heavy_hitters: 2, window: 2}");
  for (int row = 0; row < 8; ++row) look(*h2o, row, std::vector<float>(static_cast<std::size_t>(row) + 1, 0.1F));
  CHECK(seen(*h2o, 8) == Rows{0, 1, 7});
  h2o->keep(5, {});
  CHECK(seen(*h2o, 5) == Rows{0, 1, 4});  // rows 2 and 3 were passed over at 8
  look(*h2o, 5, {0.0F, 0.0F, 0.0F, 0.0F, 2.0F, 0.0F});
  CHECK(seen(*h2o, 6) ==
        Rows{0, 4, 5});  // 0.8, 0.7 and now 2.1: what rows 5 to 7 were worth before the cut is not counted for new ones
  h2o->keep(0, {});
  CHECK(seen(*h2o, 3) == Rows{0, 1, 2});
}

TEST_CASE("a mistake in an attention policy is one line") {
  CHECK(message("{type: streaming, window: 0}") ==
        "attention.yaml:1: window: expected a value from 1 to 1073741824, found 0");
  CHECK_THAT(message("{type: h2o, heavy: 3}"),
             Catch::Matchers::Contains("attention.yaml:1") && Catch::Matchers::Contains("heavy_hitters"));
  CHECK_THAT(message("streamin"),
             Catch::Matchers::Contains("attention.yaml:1") && Catch::Matchers::Contains("streaming"));
}

}  // namespace
}  // namespace foretell
