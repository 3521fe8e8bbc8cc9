// How a draft learns from its target: which losses, and how much of each.
//
// Contract: plain values. With p the target's distribution and q the draft's, both at `temperature` T: kl is T^2 KL(p
// || q) (Hinton et al. 2015, arXiv 1503.02531, where the factor keeps gradients of one size for every T), tvd is the
// total variation distance sum |p - q| / 2, which is one minus the expected rate of acceptance (Leviathan et al. 2023,
// arXiv 2211.17192, corollary 3.6); ce is the cross-entropy of the token that follows, at T = 1.
#pragma once

namespace foretell::kernels::training {

struct DistillMix {
  double ce = 0.1, kl = 0.9, tvd = 0;
  double temperature = 1;
};

struct DistillTerms {
  double ce = 0, kl = 0, tvd = 0;  // sums over rows, each row with its weight; the mix is not applied
};

}  // namespace foretell::kernels::training
