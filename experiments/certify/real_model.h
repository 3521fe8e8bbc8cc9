// A small transformer with random weights: the second world of certification.
//
// Contract: 4 layers, 16 tokens, float32, the production kernels and cache. Its drafts are the same weights with the
// upper layers left out, so they agree often, and not always. The reference is a chain decoded one token after the
// other with a cache of its own; tests/conformance/transformer_test.cpp holds it against a forward of the whole text.
// From the first one on the process computes with one thread.
#pragma once

#include <memory>

#include "experiments/certify/known_model.h"

namespace foretell::certify {

constexpr int kRealVocab = 16;

// Whether the layers have one MLP or a mixture of experts.
enum class RealLayers { Dense, Mixture };

// `context`: positions that the model has. Made once for each context.
std::shared_ptr<const KnownModel> real_target(int context = 1024, RealLayers layers = RealLayers::Dense);

}  // namespace foretell::certify
