// Rows of numbers as int8 and a scale, as an int8 KV cache holds them.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace foretell::kernels {

// A row as int8 times a scale, which is returned: its largest magnitude / 127. Each element is rounded to the nearest
// (ties to even), so that it is off by at most half a scale. A row that is not finite becomes one whose scale is not:
// whoever reads it gets NaN.
float round_to_int8(const float* row, std::int64_t width, std::int8_t* to);
float round_to_int8(const at::BFloat16* row, std::int64_t width, std::int8_t* to);

}  // namespace foretell::kernels
