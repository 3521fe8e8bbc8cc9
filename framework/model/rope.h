// Rotary position embedding: which angles a position is turned by.
//
// Contract: pure functions of the config. Angles are formed in float32 (position times inverse frequency), as the
// checkpoints' own code does, so that long positions agree to the last bits; the frequencies themselves are computed in
// double precision.
#pragma once

#include <span>
#include <vector>

#include "framework/formats/model_config.h"

namespace foretell::model {

// Radians a position advances each rotated pair by: [rotary_dim / 2].
std::vector<double> rope_frequencies(const formats::ModelConfig& config);

// What cosines and sines are multiplied with (the attention temperature of yarn and longrope); 1 for all other kinds.
double rope_magnitude(const formats::RopeConfig& rope);

// What a layer's products of queries and keys are multiplied with. Latent attention under yarn takes the temperature
// here, over whole heads: the part of a head that is not rotated knows no cosines (mscale_all_dim of the released
// DeepSeek-V3 code).
double attention_scale(const formats::ModelConfig& config, int layer);

// The cosine and sine of each position's angles, both [positions, frequencies], times `magnitude`. In float32 they are
// computed as checkpoints' own code computes them, frequencies rounded first.
void rope_angles(std::span<const int> positions, std::span<const double> frequencies, double magnitude, float* cosines,
                 float* sines);
void rope_angles(std::span<const int> positions, std::span<const double> frequencies, double magnitude, double* cosines,
                 double* sines);

}  // namespace foretell::model
