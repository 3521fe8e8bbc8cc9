// How a PackedMatrix lies in memory, and one product with it as its paths see it (vector_product.h, bfloat16_product.h,
// tiled_product.h).
//
// Contract: panels of 16 outputs; in a panel, for each step of inputs, 64 bytes: of 16 outputs one float32, two
// bfloat16 or four int8 weights side by side. Panels come in groups of four, the last one filled up with zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "framework/kernels/product_output.h"

namespace foretell::kernels {

enum class PanelType { Float32, BFloat16, Int8 };

constexpr std::int64_t kLine = 64;             // bytes of a step of a panel, whatever the type
constexpr std::int64_t kSerialWork = 1 << 17;  // multiplications below which a second thread is not worth its start

constexpr int step_of(PanelType type) { return type == PanelType::Float32 ? 1 : type == PanelType::BFloat16 ? 2 : 4; }
constexpr std::int64_t steps_of(PanelType type, std::int64_t inputs) {
  return (inputs + step_of(type) - 1) / step_of(type);
}
constexpr std::int64_t panel_bytes(PanelType type, std::int64_t inputs) { return steps_of(type, inputs) * kLine; }

// Groups of panels of a matrix.
struct GroupRange {
  std::int64_t begin = 0, end = 0;
};

struct Product {
  PanelType type = PanelType::Float32;
  const std::byte* panels = nullptr;
  std::int64_t groups = 0;
  std::int64_t inputs = 0;
  std::int64_t rows = 0;  // of x, which lie one after the other
  Output output = {};

  std::int64_t stride() const { return panel_bytes(type, inputs); }  // from one panel to the next
  const std::byte* group(std::int64_t number) const { return panels + number * kGroup * stride(); }
  // Groups that are worth a thread's start.
  std::int64_t grain() const {
    const std::int64_t work = rows * inputs * kPanel * kGroup;
    return work >= kSerialWork ? 1 : kSerialWork / (work > 0 ? work : 1);
  }
};

}  // namespace foretell::kernels
