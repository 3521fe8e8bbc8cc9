// Heavy hitters and the newest tokens (H2O, Zhang et al. 2023, arXiv 2306.14048).
//
// A row's score is the attention that it got, summed over all queries since its own and over the query heads that share
// a key head. Beside the last `window` positions a key head sees the `heavy_hitters` rows of the highest scores among
// those that have left the window; of equal scores the earlier row. What is passed over once never returns, as if it
// had been deleted: only rows that are seen gather scores. A draft's queries count once keep() has named them, so
// drafts that are rejected leave no trace in scores; nor do they decide what is passed over. After a rewind below the
// window the rows that were passed over stay so, and heads that are left with fewer rows than others set the number for
// all.
//
// Deviation: the released code takes both budgets as shares of the prompt (0.1 each) and fixes them when it has been
// read; here they are counts, so that a draft's cost is known. Scores of a prompt are summed while it is read with full
// attention, as there.
//
// Memory: 4 bytes a layer, key head and row of the cache for scores, and until the next keep() 4 bytes for each row
// that a drafted row sees there.
#include <algorithm>
#include <optional>

#include "framework/api/attention_policy.h"

namespace foretell::policies::attention {
namespace {

struct H2OOptions {
  int heavy_hitters = 128;
  int window = 128;
  void declare(Parameters& p) {
    p.add("heavy_hitters", heavy_hitters, "rows of the highest scores that a key head sees, beside the window",
          {.min = 0, .max = 1 << 20, .aliases = {"hh_size", "heavy_budget"}});
    p.add("window", window, "newest positions, the row's own included",
          {.min = 1, .max = 1 << 30, .aliases = {"recent_size", "recent_budget"}});
  }
};

class H2OAttention final : public AttentionPolicy {
 public:
  using Options = H2OOptions;
  H2OAttention(const Options& options, const BuildContext&) : H2OAttention(options) {}
  explicit H2OAttention(const Options& options) : options_(options) {}

  std::unique_ptr<AttentionPolicy> fresh() const override { return std::make_unique<H2OAttention>(options_); }
  bool wants_weights() const override { return true; }

  KvSelection select_kv(const AttentionView& view) override {
    Layer& layer = layer_of(view.layer, view.kv_heads);
    const int recent = std::max(0, view.cached - options_.window + 1);
    if (layer.passed != recent) pass(layer, recent);
    KvSelection seen{.per_head = true};
    for (const Head& head : layer.heads) {
      seen.rows.insert(seen.rows.end(), head.heavy.begin(), head.heavy.end());
      for (int row = recent; row < view.cached; ++row) seen.rows.push_back(row);
    }
    return seen;
  }

  void observe(const AttentionWeights& seen) override {
    Layer& layer = layer_of(seen.layer, seen.kv_heads);
    const std::size_t heads = layer.heads.size(),
                      width = seen.weights.size() / (heads * static_cast<std::size_t>(seen.queries));
    for (int query = 0; query < seen.queries; ++query) {
      Query one{.row = seen.first_row + query,
                .columns = {seen.columns.begin(), seen.columns.end()},
                .per_head = seen.columns_per_head};
      for (std::size_t head = 0; head < heads; ++head) {
        const auto weights = seen.weights.subspan(
            (head * static_cast<std::size_t>(seen.queries) + static_cast<std::size_t>(query)) * width, width);
        one.weights.insert(one.weights.end(), weights.begin(), weights.end());
      }
      if (seen.drafted)
        layer.drafted.push_back(std::move(one));
      else
        add(layer, one, [](int row) { return row; });
    }
  }

  void keep(int base, std::span<const int> rows) override {
    // Where a row has gone; none if it was dropped.
    const auto place = [&](int row) -> std::optional<int> {
      if (row < base) return row;
      const auto found = std::lower_bound(rows.begin(), rows.end(), row - base);
      if (found == rows.end() || *found != row - base) return std::nullopt;
      return base + static_cast<int>(found - rows.begin());
    };
    for (Layer& layer : layers_) {
      for (Head& head : layer.heads) {
        for (std::size_t i = 0; i < rows.size(); ++i) {
          const float moved = head.score_at(base + rows[i]);
          head.score_at(base + static_cast<int>(i)) = moved;
        }
        head.scores.resize(static_cast<std::size_t>(base) + rows.size());
        std::erase_if(head.heavy, [&](int row) { return row >= base; });
      }
      layer.passed = std::min(layer.passed, base);
      for (const Query& query : layer.drafted)
        if (place(query.row)) add(layer, query, place);
      layer.drafted.clear();
    }
  }

 private:
  struct Head {
    std::vector<float> scores;  // by cache row
    std::vector<int> heavy;     // those below Layer::passed that are still seen, increasing
    float& score_at(int row) {
      if (scores.size() <= static_cast<std::size_t>(row)) scores.resize(static_cast<std::size_t>(row) + 1);
      return scores[static_cast<std::size_t>(row)];
    }
  };
  // What one row looked at.
  struct Query {
    int row = 0;
    std::vector<int> columns = {};
    bool per_head = false;
    std::vector<float> weights = {};  // [kv_heads, columns]
  };
  struct Layer {
    std::vector<Head> heads;
    int passed = 0;  // rows below have left the window
    std::vector<Query> drafted;
  };

  Layer& layer_of(int layer, int kv_heads) {
    if (layers_.size() <= static_cast<std::size_t>(layer)) layers_.resize(static_cast<std::size_t>(layer) + 1);
    Layer& found = layers_[static_cast<std::size_t>(layer)];
    if (found.heads.empty()) found.heads.resize(static_cast<std::size_t>(kv_heads));
    return found;
  }

  template <class Place>
  static void add(Layer& layer, const Query& query, const Place& place) {
    const std::size_t width = query.weights.size() / layer.heads.size();
    for (std::size_t head = 0; head < layer.heads.size(); ++head) {
      const int* columns = query.columns.data() + (query.per_head ? head * width : 0);
      for (std::size_t i = 0; i < width; ++i)
        if (const std::optional<int> row = place(columns[i]))
          layer.heads[head].score_at(*row) += query.weights[head * width + i];
    }
  }

  // The window now begins at `recent`: of what has left it and of what was kept before, the highest scores stay.
  void pass(Layer& layer, int recent) const {
    std::size_t count = static_cast<std::size_t>(options_.heavy_hitters);
    for (Head& head : layer.heads) {
      std::erase_if(head.heavy, [&](int row) { return row >= recent; });
      for (int row = layer.passed; row < recent; ++row) head.heavy.push_back(row);
      count = std::min(count, head.heavy.size());
    }
    for (Head& head : layer.heads) {
      if (head.heavy.size() <= count) continue;
      head.score_at(recent);  // from here on every candidate has one
      const auto heavier = [&scores = head.scores](int a, int b) {
        const float left = scores[static_cast<std::size_t>(a)], right = scores[static_cast<std::size_t>(b)];
        return left != right ? left > right : a < b;
      };
      std::nth_element(head.heavy.begin(), head.heavy.begin() + static_cast<std::ptrdiff_t>(count), head.heavy.end(),
                       heavier);
      head.heavy.resize(count);
      std::sort(head.heavy.begin(), head.heavy.end());
    }
    layer.passed = recent;
  }

  Options options_;
  std::vector<Layer> layers_;
};

FORETELL_REGISTER(AttentionPolicy, H2OAttention, "h2o",
                  {.summary = "the rows that drew most attention, and the newest positions (H2O)",
                   .paper = {"Zhang et al.", 2023, "2306.14048"},
                   .also_known_as = {"Heavy-Hitter Oracle"}});

}  // namespace
}  // namespace foretell::policies::attention
