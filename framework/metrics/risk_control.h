// A setting that keeps a stated risk, chosen on held-out prompts with a guarantee: Learn then Test (Angelopoulos et al.
// 2021, arXiv 2110.01052), as CALM uses it (Schuster et al. 2022, arXiv 2207.07061).
//
// Contract: pure functions. A loss is in [0, 1], one a prompt; prompts are independent draws of what the setting will
// be used on. With settings in an order that was fixed before any loss was seen, the one that fixed_sequence() returns
// has an expected loss above `risk` with a probability of at most `error` over the draw of the prompts, whatever the
// losses' distribution is: each hypothesis "the expected loss is above the risk" is tested at level `error` and none
// behind the first that stands.
#pragma once

#include <optional>
#include <span>

namespace foretell::metrics {

// P(X <= k) for X of n independent draws that are 1 with probability p. 0 for k < 0.
double binomial_cdf(int k, int n, double p);

// Upper bounds of the probability of a mean loss as low as this one, if the expected loss were `risk`.
// Any losses in [0, 1]: the smaller of Hoeffding's and Bentkus' bound (Bates et al. 2021, arXiv 2101.02703).
double hoeffding_bentkus_p(double mean_loss, int prompts, double risk);
// Losses that are 0 or 1: exact (Clopper, Pearson 1934).
double binomial_p(double mean_loss, int prompts, double risk);

// The last setting before the first whose p-value is above `error`; none if the first one's is.
std::optional<int> fixed_sequence(std::span<const double> p_values, double error);

// The fewest prompts with which a setting without any loss passes.
int fewest_prompts(double risk, double error);

}  // namespace foretell::metrics
