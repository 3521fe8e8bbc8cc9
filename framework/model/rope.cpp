#include "framework/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "framework/core/error.h"

namespace foretell::model {
namespace {

// Llama 3.1's extension: long wavelengths are stretched by `factor`, short ones kept, those between interpolated
// (Grattafiori et al. 2024, arXiv 2407.21783; the formula is that of the released model code).
double llama3_frequency(const formats::RopeConfig& rope, double frequency) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < rope.original_context / rope.high_freq_factor) return frequency;
  if (wavelength > rope.original_context / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth =
      (rope.original_context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

// The pair whose wavelength makes `rotations` turns within the original context: equation 17's r(d) = L / lambda_d
// solved for d.
double yarn_pair(const formats::RopeConfig& rope, int dim, double rotations) {
  return dim * std::log(rope.original_context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(rope.theta));
}

// YaRN's "NTK by parts" (Peng et al. 2023, arXiv 2309.00071, section 3.2): pairs below `low` are kept, those above
// `high` interpolated.
double yarn_frequency(const formats::RopeConfig& rope, int dim, int pair, double frequency) {
  double low = yarn_pair(rope, dim, rope.beta_fast);
  double high = yarn_pair(rope, dim, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;
  const double ramp = std::clamp((pair - low) / (high - low), 0.0, 1.0);
  return frequency / rope.factor * ramp + frequency * (1 - ramp);
}

double yarn_mscale(double factor, double scale) { return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0; }

}  // namespace

std::vector<double> rope_frequencies(const formats::ModelConfig& config) {
  const formats::RopeConfig& rope = config.rope;
  const int dim = config.rotary_dim();
  std::vector<double> frequencies;
  for (int pair = 0; pair < dim / 2; ++pair) {
    double frequency = 1.0 / std::pow(rope.theta, 2.0 * pair / dim);
    switch (rope.scaling) {
      case formats::RopeConfig::Scaling::None: break;
      case formats::RopeConfig::Scaling::Linear: frequency /= rope.factor; break;
      case formats::RopeConfig::Scaling::Llama3: frequency = llama3_frequency(rope, frequency); break;
      case formats::RopeConfig::Scaling::Yarn: frequency = yarn_frequency(rope, dim, pair, frequency); break;
      case formats::RopeConfig::Scaling::LongRope:
        frequency /= rope.short_factors[static_cast<std::size_t>(pair)];
        break;
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

// YaRN's section 3.4: attention is sharpened as if the logits were divided by a temperature, by scaling queries and
// keys alike. LongRoPE scales as the released models do.
double rope_magnitude(const formats::RopeConfig& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.scaling == formats::RopeConfig::Scaling::LongRope) {
    return rope.factor <= 1 ? 1.0 : std::sqrt(1 + std::log(rope.factor) / std::log(rope.original_context));
  }
  if (rope.scaling != formats::RopeConfig::Scaling::Yarn) return 1.0;
  const bool has_both = rope.mscale.value_or(0) != 0 && rope.mscale_all_dim.value_or(0) != 0;
  if (has_both) return yarn_mscale(rope.factor, *rope.mscale) / yarn_mscale(rope.factor, *rope.mscale_all_dim);
  return yarn_mscale(rope.factor, 1.0);
}

double attention_scale(const formats::ModelConfig& config, int layer) {
  double scale = config.attention_scaled ? 1.0 / std::sqrt(config.head_dim) : 1.0;
  if (config.attention_scaled_by_layer) scale /= layer + 1;
  if (!config.latent || config.rope.scaling != formats::RopeConfig::Scaling::Yarn) return scale;
  const double mscale = yarn_mscale(config.rope.factor, config.rope.mscale_all_dim.value_or(0));
  return scale * mscale * mscale;
}

namespace {

template <class T>
void angles_in(std::span<const int> positions, std::span<const double> frequencies, T magnitude, T* cosines, T* sines) {
  for (const int position : positions) {
    for (const double frequency : frequencies) {
      const T angle = static_cast<T>(position) * static_cast<T>(frequency);
      *cosines++ = std::cos(angle) * magnitude;
      *sines++ = std::sin(angle) * magnitude;
    }
  }
}

}  // namespace

void rope_angles(std::span<const int> positions, std::span<const double> frequencies, double magnitude, float* cosines,
                 float* sines) {
  angles_in(positions, frequencies, static_cast<float>(magnitude), cosines, sines);
}

void rope_angles(std::span<const int> positions, std::span<const double> frequencies, double magnitude, double* cosines,
                 double* sines) {
  angles_in(positions, frequencies, magnitude, cosines, sines);
}

}  // namespace foretell::model
