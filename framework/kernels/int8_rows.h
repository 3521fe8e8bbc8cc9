// Rows of a KV cache as int8: each times a scale of its own, symmetric.
//
// Contract: scale = largest magnitude / 127, each element rounded to the nearest (ties to even), so that it is off by
// at most half a scale. A row that is not finite becomes one whose scale is not: whoever reads it gets NaN.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace foretell::kernels {

// Returns the scale.
float round_to_int8(const float* row, std::int64_t width, std::int8_t* to);
float round_to_int8(const at::BFloat16* row, std::int64_t width, std::int8_t* to);

}  // namespace foretell::kernels
