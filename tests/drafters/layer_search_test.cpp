// Searching for the sublayers that a draft can do without: the sets that are tried, the Gaussian process, and SWIFT in
// the loop.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "framework/exits/depth_choice.h"
#include "framework/exits/layer_search.h"
#include "framework/exits/layer_sets.h"
#include "tests/support/catch.h"
#include "tests/support/rooms.h"

namespace foretell {
namespace {

using namespace exits;

int left_out(const SkippedSublayers& set) { return static_cast<int>(set.attention.size() + set.mlp.size()); }

// A set is the better, the fewer sublayers of the second half it lacks.
double late_layers_matter(const SkippedSublayers& set) {
  const auto late = [](int layer) { return layer >= 6; };
  return 1 -
         static_cast<double>(std::ranges::count_if(set.attention, late) + std::ranges::count_if(set.mlp, late)) / 12;
}

TEST_CASE("sets have the size that SWIFT gives them and keep the first and the last layer", "[layer_search]") {
  for (const bool evolution : {false, true}) {
    LayerSearch search(12, {.ratio = 0.45, .model_every = 4, .evolution = evolution});
    CHECK(left_out(search.best()) == 9);  // floor(2 * 10 * 0.45)
    for (int i = 0; i < 40; ++i) {
      const SkippedSublayers set = search.next();
      CHECK(left_out(set) == 9);
      for (const std::vector<int>& layers : {set.attention, set.mlp})
        CHECK(std::ranges::all_of(layers, [](int layer) { return layer > 0 && layer < 11; }));
      search.tell(late_layers_matter(set));
    }
    CHECK(search.proposals() == 40);
  }
  CHECK(LayerSearch(2, {}).finished());
  CHECK(LayerSearch(12, {.ratio = 0}).finished());
}

TEST_CASE("a search keeps the best set, is a function of its seed, and ends as the paper says", "[layer_search]") {
  const auto run = [](LayerSearchOptions options, int steps) {
    LayerSearch search(12, options);
    double best = 0;
    for (int i = 0; i < steps && !search.finished(); ++i) {
      const double score = late_layers_matter(search.next());
      best = std::max(best, score);
      search.tell(score);
      CHECK(search.best_score() == best);
      CHECK(late_layers_matter(search.best()) == best);
    }
    return search;
  };
  const LayerSearch a = run({.seed = 5}, 60), b = run({.seed = 5}, 60), c = run({.seed = 6}, 60);
  CHECK(a.best() == b.best());
  CHECK_FALSE(a.best() == c.best());
  // One more than allowed, as the released code compares.
  CHECK(run({.model_every = 0, .most = 10, .enough = 1}, 100).proposals() == 11);
  LayerSearch stuck(12, {.model_every = 0, .patience = 3});
  while (!stuck.finished()) {
    stuck.next();
    stuck.tell(0);
  }
  CHECK(stuck.proposals() == 4);
  LayerSearch found(12, {.enough = 0.5});
  found.next();
  found.tell(0.5);
  CHECK_FALSE(found.finished());
  found.next();
  found.tell(0.51);
  CHECK(found.finished());
}

TEST_CASE("a Gaussian process and evolution find better sets than chance", "[layer_search]") {
  const auto best_after = [](LayerSearchOptions options) {
    double sum = 0;
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      options.seed = seed;
      options.enough = 1;
      LayerSearch search(12, options);
      for (int i = 0; i < 80; ++i) search.tell(late_layers_matter(search.next()));
      sum += search.best_score() / 5;
    }
    return sum;
  };
  const double random = best_after({.model_every = 0});
  CHECK(best_after({.model_every = 2}) > random);
  CHECK(best_after({.model_every = 0, .evolution = true}) > random);
}

TEST_CASE("the Gaussian process is the textbook's", "[layer_search]") {
  // Two points of four places that differ in one; length scale 1, noise 0.01.
  const std::vector<std::vector<char>> points = {{0, 0, 1, 1}, {0, 1, 1, 1}};
  const double k = std::exp(-1.0), a = 1.01, determinant = a * a - k * k;
  const std::vector<Expected> found = gaussian_process(points, {0.2, 0.6}, {{0, 0, 1, 1}, {1, 0, 1, 1}});
  // Scores are -0.2 and 0.2 about 0.4.
  const double first = (a * -0.2 - k * 0.2) / determinant, second = (a * 0.2 + k * 0.2) / determinant;
  CHECK(found[0].mean == Approx(0.4 + first + k * second));
  CHECK(found[1].mean == Approx(0.4 + k * first + std::exp(-2.0) * second));
  const double near = k, far = std::exp(-2.0);
  const double explained = (near * (a * near - k * far) + far * (a * far - k * near)) / determinant;
  CHECK(found[1].deviation == Approx(std::sqrt(1 - explained)));
  CHECK(found[0].deviation < 0.15);
}

TEST_CASE("layers that Unified Layer Skipping leaves out", "[layer_search]") {
  CHECK(spread_layers(12, 2) == std::vector<int>{1, 3, 5, 7, 9, 10});
  CHECK(spread_layers(12, 1).empty());
  CHECK(spread_layers(12, 6) == std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  CHECK(spread_layers(2, 8).empty());
  for (int layers = 1; layers < 50; ++layers)
    for (const double speedup : {1.0, 1.3, 2.0, 3.7, 100.0}) {
      const std::vector<int> out = spread_layers(layers, speedup);
      CHECK(layers - std::ssize(out) == std::max(static_cast<int>(layers / speedup), std::min(layers, 2)));
    }
}

TEST_CASE("DEL takes the layer and the length with the most expected tokens a layer", "[layer_search]") {
  DepthChoice choice({2, 4, 8}, 12, 0.5, 6);
  CHECK(choice.rate(0) == 0.5);
  choice.add(std::vector<int>{1, 5, 9}, 10);
  choice.add(std::vector<int>{0, 9, 10}, 10);
  CHECK(choice.rate(0) == Approx(0.5 / 15));
  CHECK(choice.rate(1) == Approx(11.5 / 15));
  CHECK(choice.rate(2) == Approx(14.5 / 15));
  double most = 1.0 / 12;  // plain decoding
  int layer = 0, tokens = 0;
  for (std::size_t i = 0; i < 3; ++i)
    for (int j = 1; j <= 6; ++j) {
      const int l = i == 0 ? 2 : i == 1 ? 4 : 8;
      const double a = choice.rate(i), each = (1 - std::pow(a, j + 1)) / (1 - a) / ((j + 1) * l + 12 - l);
      if (each > most) std::tie(most, layer, tokens) = std::tuple(each, l, j);
    }
  CHECK(choice.best().layer == layer);
  CHECK(choice.best().tokens == tokens);
  DepthChoice useless({2, 4}, 12, 0.5, 6);
  useless.add(std::vector<int>{0, 0}, 10);
  CHECK(useless.best().tokens == 0);
}

}  // namespace
}  // namespace foretell
