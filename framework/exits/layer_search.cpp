#include "framework/exits/layer_search.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "framework/core/error.h"

namespace foretell::exits {
namespace {

constexpr std::size_t kMostTold = 200;  // of the Gaussian process, whose time grows with the cube

using Rows = std::vector<std::vector<double>>;

double covariance(const std::vector<char>& a, const std::vector<char>& b) {
  double apart = 0;
  for (std::size_t i = 0; i < a.size(); ++i) apart += a[i] != b[i] ? 1 : 0;
  const double length = std::max(1.0, static_cast<double>(a.size()) / 4);
  return std::exp(-apart / length);
}

// Lower triangular factor of a positive definite matrix.
Rows cholesky(Rows a) {
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = a[i][j];
      for (std::size_t k = 0; k < j; ++k) sum -= a[i][k] * a[j][k];
      a[i][j] = i == j ? std::sqrt(std::max(sum, 1e-12)) : sum / a[j][j];
    }
  return a;
}

// x of L x = b.
std::vector<double> solve_lower(const Rows& lower, std::vector<double> b) {
  for (std::size_t i = 0; i < b.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) b[i] -= lower[i][k] * b[k];
    b[i] /= lower[i][i];
  }
  return b;
}

}  // namespace

std::vector<Expected> gaussian_process(const std::vector<std::vector<char>>& points, const std::vector<double>& scores,
                                       const std::vector<std::vector<char>>& asked) {
  constexpr double kNoise = 1e-2;
  FORETELL_CHECK(points.size() == scores.size() && !points.empty(), "{} points, {} scores", points.size(),
                 scores.size());
  const double mean = std::accumulate(scores.begin(), scores.end(), 0.0) / static_cast<double>(scores.size());
  Rows gram(points.size(), std::vector<double>(points.size()));
  for (std::size_t i = 0; i < points.size(); ++i)
    for (std::size_t j = 0; j < points.size(); ++j)
      gram[i][j] = covariance(points[i], points[j]) + (i == j ? kNoise : 0);
  const Rows lower = cholesky(std::move(gram));
  std::vector<double> centred;
  centred.reserve(scores.size());
  for (const double score : scores) centred.push_back(score - mean);
  const std::vector<double> weighted = solve_lower(lower, std::move(centred));
  std::vector<Expected> out;
  for (const std::vector<char>& point : asked) {
    std::vector<double> near;
    near.reserve(points.size());
    for (const std::vector<char>& known : points) near.push_back(covariance(known, point));
    const std::vector<double> solved = solve_lower(lower, std::move(near));
    const double explained = std::inner_product(solved.begin(), solved.end(), solved.begin(), 0.0);
    out.push_back({mean + std::inner_product(solved.begin(), solved.end(), weighted.begin(), 0.0),
                   std::sqrt(std::max(1 - explained, 0.0))});
  }
  return out;
}

LayerSearch::LayerSearch(int num_layers, LayerSearchOptions options)
    : size_(static_cast<int>(2 * std::max(num_layers - 2, 0) * options.ratio)),
      options_(options),
      rng_(RngKey{.seed = options.seed}),
      best_(evenly(2 * std::max(num_layers - 2, 0))) {}

bool LayerSearch::finished() const {
  return size_ == 0 || best_score_ > options_.enough || since_better_ > options_.patience || proposals_ > options_.most;
}

// Sublayer 2 i is the attention of inner layer i, 2 i + 1 its MLP.
SkippedSublayers LayerSearch::set_of(const Point& point) const {
  SkippedSublayers set;
  for (std::size_t i = 0; i < point.size(); ++i)
    if (point[i] != 0) (i % 2 == 0 ? set.attention : set.mlp).push_back(static_cast<int>(i / 2) + 1);
  return set;
}

LayerSearch::Point LayerSearch::evenly(int sublayers) const {
  Point out(static_cast<std::size_t>(sublayers), 0);
  for (int i = 0; i < size_; ++i) out[static_cast<std::size_t>((2 * i + 1) * sublayers / (2 * size_))] = 1;
  return out;
}

LayerSearch::Point LayerSearch::random_point() {
  Point out(best_.size(), 0);
  std::fill(out.begin(), out.begin() + size_, 1);
  for (std::size_t i = out.size(); i > 1; --i) std::swap(out[i - 1], out[rng_.below(i)]);
  return out;
}

// Some sublayers that are left out change places with some that are not.
LayerSearch::Point LayerSearch::neighbour(const Point& of, int changes) {
  Point out = of;
  for (int change = 0; change < changes; ++change) {
    const auto place = [&](char held) {
      std::vector<std::size_t> places;
      for (std::size_t i = 0; i < out.size(); ++i)
        if (out[i] == held) places.push_back(i);
      return places.empty() ? out.size() : places[rng_.below(places.size())];
    };
    const std::size_t from = place(1), to = place(0);
    if (from < out.size() && to < out.size()) std::swap(out[from], out[to]);
  }
  return out;
}

// Of random sets and changes of the best the one with the highest upper confidence bound.
LayerSearch::Point LayerSearch::modelled() {
  constexpr int kAsked = 48;
  constexpr double kBound = 1.0;
  std::vector<Point> points, asked;
  std::vector<double> scores;
  for (const Told& told : told_) {
    points.push_back(told.point);
    scores.push_back(told.score);
  }
  for (int i = 0; i < kAsked; ++i) asked.push_back(i % 2 == 0 ? random_point() : neighbour(best_, 1 + i % 3));
  const std::vector<Expected> found = gaussian_process(points, scores, asked);
  const double mean = std::accumulate(scores.begin(), scores.end(), 0.0) / static_cast<double>(scores.size());
  double spread = 1e-6;
  for (const double score : scores) spread = std::max(spread, std::abs(score - mean));
  const auto bound = [&](const Expected& of) { return of.mean + kBound * spread * of.deviation; };
  const auto most =
      std::max_element(found.begin(), found.end(), [&](const auto& a, const auto& b) { return bound(a) < bound(b); });
  return asked[static_cast<std::size_t>(most - found.begin())];
}

SkippedSublayers LayerSearch::next() {
  ++proposals_;
  if (proposals_ == 1)
    asked_ = best_;
  else if (options_.model_every > 0 && proposals_ % options_.model_every == 0)
    asked_ = modelled();
  else
    asked_ = options_.evolution ? neighbour(best_, 1 + proposals_ % 3) : random_point();
  return set_of(asked_);
}

void LayerSearch::tell(double score) {
  FORETELL_CHECK(!asked_.empty(), "a score {} of no set", score);
  told_.push_back({asked_, score});
  if (told_.size() > kMostTold) told_.erase(told_.begin());
  ++since_better_;
  if (score <= best_score_) return;
  best_score_ = score;
  best_ = asked_;
  since_better_ = 0;
}

}  // namespace foretell::exits
