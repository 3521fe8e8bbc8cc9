#include "framework/sampling/optimal_transport.h"

#include <ClpSimplex.hpp>
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "framework/core/error.h"
#include "framework/core/text.h"

namespace foretell {
namespace {

constexpr double kMostSequences = 1e6;
constexpr int kMostTokensToEnumerate = 16;
constexpr std::size_t kMostVariables = 20000;

std::vector<Token> support(const Distribution& q) {
  std::vector<Token> tokens;
  q.for_each([&](Token t, double mass) {
    if (mass > 0) tokens.push_back(t);
  });
  return tokens;
}

class SetCollector {
 public:
  explicit SetCollector(bool with_replacement) : with_replacement_(with_replacement) {}

  // All continuations of a sequence of draws; q is the distribution of the next one.
  void draw(const Distribution& q, int draws, double probability) {
    if (draws == 0) {
      std::vector<Token> set = drawn_;
      std::sort(set.begin(), set.end());
      set.erase(std::unique(set.begin(), set.end()), set.end());
      sets_[set] += probability;
      return;
    }
    for (const Token token : support(q)) {
      drawn_.push_back(token);
      const std::optional<Distribution> next = with_replacement_ ? std::optional(q) : without(q, token);
      draw(next ? *next : q, next ? draws - 1 : 0, probability * q[token]);
      drawn_.pop_back();
    }
  }

  std::vector<DraftedSet> take() const {
    std::vector<DraftedSet> out;
    for (const auto& [tokens, probability] : sets_) out.push_back({tokens, probability});
    return out;
  }

 private:
  bool with_replacement_;
  std::vector<Token> drawn_;
  std::map<std::vector<Token>, double> sets_;
};

// A column for each token of each set; a row for each set and each token, which bound the sums of their columns.
std::vector<double> solve(const std::vector<DraftedSet>& sets, const Distribution& p, std::size_t variables) {
  const int columns = static_cast<int>(variables), set_rows = static_cast<int>(sets.size()),
            rows = set_rows + p.vocab();
  std::vector<CoinBigIndex> starts{0};
  std::vector<int> indices;
  for (int s = 0; s < set_rows; ++s)
    for (const Token token : sets[s].tokens) {
      indices.insert(indices.end(), {s, set_rows + token});
      starts.push_back(static_cast<CoinBigIndex>(indices.size()));
    }
  const std::vector<double> ones(indices.size(), 1.0), lower(columns, 0.0), upper(columns, COIN_DBL_MAX),
      gain(columns, 1.0);
  std::vector<double> least(rows, 0.0), most;
  for (const DraftedSet& set : sets) most.push_back(set.probability);
  for (Token t = 0; t < p.vocab(); ++t) most.push_back(p[t]);
  ClpSimplex simplex;
  simplex.setLogLevel(0);
  simplex.loadProblem(columns, rows, starts.data(), indices.data(), ones.data(), lower.data(), upper.data(),
                      gain.data(), least.data(), most.data());
  simplex.setOptimizationDirection(-1);
  simplex.setPrimalTolerance(1e-12);
  simplex.setDualTolerance(1e-12);
  simplex.dual();
  FORETELL_CHECK(simplex.status() == 0, "the transport problem was not solved: status {}", simplex.status());
  return {simplex.getColSolution(), simplex.getColSolution() + columns};
}

// The solver keeps the margins up to a tolerance; a verifier must keep them exactly, so what is too much is scaled
// down.
void respect_margins(Coupling& c, const Distribution& p) {
  std::vector<double> sums(p.vocab(), 0.0);
  for (std::size_t s = 0; s < c.sets.size(); ++s) {
    double sum = 0;
    for (double& f : c.flow[s]) sum += f = std::max(f, 0.0);
    const double scale = sum > c.sets[s].probability ? c.sets[s].probability / sum : 1.0;
    for (std::size_t i = 0; i < c.flow[s].size(); ++i) sums[c.sets[s].tokens[i]] += c.flow[s][i] *= scale;
  }
  c.rest.assign(p.vocab(), 0.0);
  std::vector<double> scale(p.vocab(), 1.0);
  for (Token t = 0; t < p.vocab(); ++t) {
    if (sums[t] > p[t]) scale[t] = p[t] / sums[t];
    c.rest[t] = p[t] - sums[t] * scale[t];
  }
  c.accepted = 0;
  for (std::size_t s = 0; s < c.sets.size(); ++s)
    for (std::size_t i = 0; i < c.flow[s].size(); ++i) c.accepted += c.flow[s][i] *= scale[c.sets[s].tokens[i]];
}

}  // namespace

std::vector<DraftedSet> drafted_sets(const Distribution& q, int draws, bool with_replacement) {
  const double sequences = std::pow(static_cast<double>(support(q).size()), draws);
  if (sequences > kMostSequences)
    fail("optimal transport over {} from {}: at most {:.0f} sequences of draws can be tried", counted(draws, "draw"),
         counted(support(q).size(), "token"), kMostSequences);
  SetCollector collector(with_replacement);
  collector.draw(q, draws, 1.0);
  return collector.take();
}

double acceptance_bound(const Distribution& p, const Distribution& q, int draws, bool with_replacement) {
  if (p.vocab() > kMostTokensToEnumerate)
    fail("the bound of optimal transport is for at most {} tokens; the vocabulary has {}", kMostTokensToEnumerate,
         p.vocab());
  const auto mask_of = [](const std::vector<Token>& tokens) {
    std::uint32_t mask = 0;
    for (const Token t : tokens) mask |= 1u << t;
    return mask;
  };
  std::vector<std::pair<std::uint32_t, double>> sets;
  for (const DraftedSet& set : drafted_sets(q, draws, with_replacement))
    sets.emplace_back(mask_of(set.tokens), set.probability);
  double lowest = 0;
  for (std::uint32_t chosen = 0; chosen < (1u << p.vocab()); ++chosen) {
    double value = 0;
    for (Token t = 0; t < p.vocab(); ++t) value += (chosen >> t & 1u) != 0 ? p[t] : 0.0;
    for (const auto& [mask, probability] : sets) value -= (mask & ~chosen) == 0 ? probability : 0.0;
    lowest = std::min(lowest, value);
  }
  return 1 + lowest;
}

Coupling optimal_coupling(const Distribution& p, const Distribution& q, int draws, bool with_replacement) {
  Coupling coupling;
  coupling.sets = drafted_sets(q, draws, with_replacement);
  std::size_t variables = 0;
  for (const DraftedSet& set : coupling.sets) variables += set.tokens.size();
  if (variables > kMostVariables)
    fail("optimal transport over {} and {} has {}; at most {} can be solved", counted(draws, "draw"),
         counted(p.vocab(), "token"), counted(variables, "variable"), kMostVariables);
  if (draws == 1) {  // the best coupling of single tokens is known
    for (const DraftedSet& set : coupling.sets) coupling.flow.push_back({std::min(p[set.tokens[0]], set.probability)});
    respect_margins(coupling, p);
    return coupling;
  }
  const std::vector<double> solution = solve(coupling.sets, p, variables);
  auto at = solution.begin();
  for (const DraftedSet& set : coupling.sets) {
    coupling.flow.emplace_back(at, at + static_cast<std::ptrdiff_t>(set.tokens.size()));
    at += static_cast<std::ptrdiff_t>(set.tokens.size());
  }
  respect_margins(coupling, p);
  return coupling;
}

}  // namespace foretell
