// The checks that a pipeline has to pass to be called lossless, as functions: `foretell certify` and the test suite run
// the same ones, over the registry and over planted faults.
//
// Contract: everything goes through the production loop. Enumeration puts a scripted generator in the place of the
// random one and walks every branch; the other checks draw as production does.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "experiments/certify/toy_pipeline.h"

namespace foretell::certify {

// What is wrong, in words; none if nothing is.
using Complaint = std::optional<std::string>;

// Token identity with the greedy reference at temperature 0: lengths, stop tokens inside drafts, a full context, batch
// 3, single-token prompts.
Complaint check_identity(const Setup& setup, Exercise* exercise = nullptr);

// On a transformer (real_model.h): greedy text alone and in batches of 2, 8 and 16 of sequences of several lengths,
// with rounds in which nothing is drafted, and over `horizon` tokens; and that above temperature 0 a sequence of a
// batch draws what it draws alone. Of a lossy pipeline the last alone.
struct RealOptions {
  bool lossless = true;
  int horizon = 512;
};
Complaint check_real(const Setup& setup, const RealOptions& options, Exercise* exercise = nullptr);

// What the exact distribution of an answer says about a pipeline.
struct ExactFindings {
  double rounding = 1e-12;     // what distances may be without a fault
  double total_variation = 0;  // of the joint distribution of all tokens from the target's
  // The same of what follows the first round's tokens, given these and their number: a fault there may hide in the
  // average over rounds.
  double later_variation = 0;
  double expected_tokens = 0;  // of the first round
  std::optional<double> first_drafted =
      {};  // probability that the first token is one of the proposals at the anchor; none without a draft
  std::optional<double> transport_bound =
      {};  // the highest that any verifier reaches there; none if the proposals have several distributions
  // A single proposal that is accepted with probability 1 - TV(p, q) leaves one possible distribution behind its
  // rejection, norm(max(p - q, 0)): how far the distribution of the correction is from it. None for other drafts and
  // for verifiers that accept less.
  std::optional<double> residual_variation = {};
  Exercise exercise = {};  // over all branches that are not negligible, each counted once
};

struct ExactOptions {
  Tokens prompt = {1, 2, 1};
  int tokens = 3;
  double temperature = 1.0;
  int top_k = 0;  // few of many tokens, so that branches can be walked; 0: all
  // What follows this many rounds is not walked but has the target's distribution: deep drafts have too many branches
  // otherwise. 0: all rounds are walked.
  int rounds = 0;
  // A verifier that draws anew where it could reuse a draw has more branches than anybody can walk; what need not be
  // proven is given up on then.
  std::int64_t most_paths = std::numeric_limits<std::int64_t>::max();
};
// None if there are more paths than that.
std::optional<ExactFindings> enumerate_up_to(const Setup& setup, const ExactOptions& options);
ExactFindings enumerate(const Setup& setup, const ExactOptions& options = {});
// What in the findings no lossless pipeline would show: a distance above rounding, a bound that is exceeded.
Complaint complaint_of(const ExactFindings& findings);

// Whether enumeration finds the target's distribution, at two temperatures: no distance above rounding.
Complaint check_exact(const Setup& setup);

// The chi-square test of the joint distribution of all tokens over `trials` answers, with the production generator.
// Texts that are expected less than five times count together.
struct ChiSquare {
  double statistic;
  int freedom;
  double p_value;
  Exercise exercise;
};
struct ChiSquareOptions {
  int trials = 1000;
  Tokens prompt = {1, 2, 1};
  int tokens = 3;
  int top_k = 0;
  std::uint64_t seed = 20240401;
};
ChiSquare chi_square(const Setup& setup, const ChiSquareOptions& options);

}  // namespace foretell::certify
