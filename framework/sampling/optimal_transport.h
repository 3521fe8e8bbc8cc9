// How well several draws from a distribution can be matched with one draw of another: the optimum that verifiers are
// measured against.
//
// With the set of k drafted tokens given, a verifier of one level is a coupling of that set's distribution with the
// target's p; the probability that its token is in the set is highest for the coupling that solves a transport problem
// (Sun et al. 2023, arXiv 2310.15141). Two views of the same number:
//   max over couplings P(token in set)  =  1 + min over sets H of tokens [p(H) - P(all k draws lie in H)]
//
// Contract: for small vocabularies. Sizes that would take forever are refused with an Error that says so; draws are
// independent or without replacement.
#pragma once

#include <cstdint>
#include <vector>

#include "framework/sampling/distribution.h"

namespace foretell {

// A set of drafted tokens, ascending, and its probability.
struct DraftedSet {
  std::vector<Token> tokens;
  double probability;
};

// All sets that `draws` draws from q can make. An Error above a million sequences of draws.
std::vector<DraftedSet> drafted_sets(const Distribution& q, int draws, bool with_replacement);

// The right side above, by trying every H: the highest probability that the first emitted token is one of the drafted.
// An Error for more than 16 tokens.
double acceptance_bound(const Distribution& p, const Distribution& q, int draws, bool with_replacement);

// The left side: an optimal coupling.
struct Coupling {
  std::vector<DraftedSet> sets;
  std::vector<std::vector<double>>
      flow;                  // [set][token of the set]: probability of "this set, and that token of it is emitted"
  std::vector<double> rest;  // [vocab]: what p has left for when no token of the set is emitted; not normalised
  double accepted;           // sum of all flow
};
// Solved by linear programming (COIN-OR CLP). An Error above 20,000 variables.
Coupling optimal_coupling(const Distribution& p, const Distribution& q, int draws, bool with_replacement);

}  // namespace foretell
