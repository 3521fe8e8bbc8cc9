#include "framework/kernels/packed_matrix.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "framework/core/error.h"
#include "framework/kernels/bfloat16_product.h"
#include "framework/kernels/matrix_path.h"
#include "framework/kernels/row_products.h"
#include "framework/kernels/tiled_product.h"
#include "framework/kernels/vector_product.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace foretell::kernels {
namespace {

using at::BFloat16;
using Type = PackedMatrix::Type;

// Copies weight rows [begin, begin + 16) into a panel; rows beyond `end` stay zero.
template <class T, class To>
void fill_panel(const T* weight, std::int64_t inputs, std::int64_t begin, std::int64_t end, int step, To* panel) {
  for (std::int64_t o = begin; o < std::min(begin + kPanel, end); ++o) {
    const T* row = weight + o * inputs;
    To* to = panel + (o - begin) * step;
    for (std::int64_t i = 0; i < inputs; ++i) to[i / step * step * kPanel + i % step] = static_cast<To>(row[i]);
  }
}

// Large matrices lie in large pages where the system has them: 7% less time to read 2.4 GB, because translations of
// addresses are found, and logits of 64 rows have 16 pages to ask for, not 8,000.
constexpr std::int64_t kLargePage = 2 << 20, kLargeRoom = 2 * kLargePage;
at::Tensor room_for(std::int64_t bytes) {
#ifdef MADV_HUGEPAGE
  if (bytes >= kLargeRoom) {
    void* memory =
        std::aligned_alloc(kLargePage, static_cast<std::size_t>((bytes + kLargePage - 1) / kLargePage * kLargePage));
    FORETELL_CHECK(memory, "no memory for {} bytes", bytes);
    madvise(memory, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);  // advice: what comes of it does not matter
    return at::from_blob(
        memory, {bytes}, [](void* held) { std::free(held); }, at::kByte);
  }
#endif
  return at::empty({bytes}, at::kByte);
}

// Each output's weights divided by its scale and rounded.
at::Tensor rounded_to_int8(const at::Tensor& weight, at::Tensor& scales) {
  const at::Tensor wide = weight.to(at::kFloat);
  scales = wide.abs().amax(1).div(127.0);
  scales = scales.where(scales > 0, at::ones_like(scales));
  return wide.div(scales.unsqueeze(1)).round().to(at::kChar);
}

}  // namespace

PackedMatrix::PackedMatrix(const at::Tensor& weight, Type type, bool gated)
    : type_(type), gated_(gated), inputs_(weight.size(1)), outputs_(weight.size(0)) {
  FORETELL_CHECK(weight.device().is_cpu() && weight.is_contiguous(),
                 "a matrix that is not contiguous, or not on the CPU");
  FORETELL_CHECK(!gated || outputs_ % 2 == 0, "a gated matrix of {} outputs", outputs_);
  FORETELL_CHECK(type == Type::Int8 || weight.scalar_type() == (type == Type::Float32 ? at::kFloat : at::kBFloat16),
                 "weights of another type");
  scales_ = at::empty({0}, at::kFloat);
  const at::Tensor source =
      type == Type::Int8 && weight.scalar_type() != at::kChar ? rounded_to_int8(weight, scales_) : weight;
  const std::int64_t width = gated ? outputs_ / 2 : outputs_, panel_outputs = gated ? kPanel / 2 : kPanel;
  // Filled up with zeros, so that no kernel has to ask whether there is a panel beside its own.
  const std::int64_t group_outputs = kGroup * panel_outputs;
  const std::int64_t panels = (width + group_outputs - 1) / group_outputs * kGroup, stride = panel_bytes(type, inputs_);
  storage_ = room_for(panels * stride);
  auto* bytes = static_cast<std::byte*>(storage_.mutable_data_ptr());
  at::parallel_for(0, panels, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      std::byte* to = bytes + panel * stride;
      std::fill_n(to, stride, std::byte{0});
      const std::int64_t first = gated ? panel % 2 * width + panel / 2 * kPanel : panel * kPanel;
      const std::int64_t last = gated ? (panel % 2 + 1) * width : outputs_;
      switch (type) {
        case Type::Float32:
          fill_panel(source.const_data_ptr<float>(), inputs_, first, last, 1, reinterpret_cast<float*>(to));
          break;
        case Type::BFloat16:
          fill_panel(source.const_data_ptr<BFloat16>(), inputs_, first, last, 2, reinterpret_cast<BFloat16*>(to));
          break;
        case Type::Int8:
          fill_panel(source.const_data_ptr<std::int8_t>(), inputs_, first, last, 4, reinterpret_cast<std::int8_t*>(to));
          break;
      }
    }
  });
}

PackedMatrix PackedMatrix::panels(const std::vector<std::int64_t>& chosen) const {
  FORETELL_CHECK(!gated_, "the panels of a gated matrix hold pairs; {} were asked for", chosen.size());
  static_assert(kPanelOutputs == kPanel);
  std::vector<std::int64_t> groups = chosen;  // kernels look at whole groups
  while (groups.size() % kGroup != 0) groups.push_back(groups.back());
  const at::Tensor index = at::tensor(groups, at::kLong);
  PackedMatrix some = *this;
  some.storage_ = storage_.view({-1, panel_bytes(type_, inputs_)}).index_select(0, index).view({-1});
  some.outputs_ = static_cast<std::int64_t>(chosen.size()) * kPanel;
  if (scales_.numel() == 0) return some;
  const std::int64_t whole = storage_.numel() / panel_bytes(type_, inputs_) * kPanel;
  const at::Tensor padded = at::cat({scales_, at::ones({whole - outputs_}, scales_.options())});
  some.scales_ = padded.view({-1, kPanel}).index_select(0, index).view({-1});
  return some;
}

// A product with the unit matrix is exact: each sum has one term.
at::Tensor PackedMatrix::dequantize() const {
  if (!gated_) return product(at::eye(inputs_), {}).t().contiguous();
  PackedMatrix plain = *this;
  plain.gated_ = false;
  plain.outputs_ = static_cast<std::int64_t>(storage_.nbytes()) / panel_bytes(type_, inputs_) * kPanel;
  plain.scales_ = at::empty({0}, at::kFloat);
  const at::Tensor panels =
      plain.product(at::eye(inputs_), {}).t().unflatten(0, {-1, 2, kLanes});  // [panels, gate or other, lanes, in]
  const std::int64_t half = outputs_ / 2;
  const auto part = [&](std::int64_t which) { return panels.select(1, which).flatten(0, 1).narrow(0, 0, half); };
  const at::Tensor dense = at::cat({part(0), part(1)});
  return scales_.numel() > 0 ? dense.mul(scales_.unsqueeze(1)) : dense;
}

namespace {

template <class Y>
void multiply_bfloat16(const Product& product, const BFloat16* x, Y* y) {
  switch (path_of(product)) {
    case MatrixPath::Tiles: return multiply_by_tiles(product, x, y);
    case MatrixPath::Pairs: return multiply_by_pairs(product, x, y);
    case MatrixPath::Vectors: return multiply_by_vectors(product, x, y);
  }
}

void multiply_into(const PackedMatrix& matrix, const at::Tensor& x, const Output& kind, const at::Tensor& bias,
                   const at::Tensor& y) {
  FORETELL_CHECK(x.dim() == 2 && x.size(1) == matrix.inputs() && x.is_contiguous(), "rows of another width than {}",
                 matrix.inputs());
  if (x.size(0) == 0) return;
  const Product product = matrix.product_of(x.size(0), kind, bias);
  if (x.scalar_type() == at::kFloat)
    return multiply_by_vectors(product, x.const_data_ptr<float>(), y.mutable_data_ptr<float>());
  y.scalar_type() == at::kFloat
      ? multiply_bfloat16(product, x.const_data_ptr<BFloat16>(), y.mutable_data_ptr<float>())
      : multiply_bfloat16(product, x.const_data_ptr<BFloat16>(), y.mutable_data_ptr<BFloat16>());
}

}  // namespace

Product PackedMatrix::product_of(std::int64_t rows, const Output& kind, const at::Tensor& bias) const {
  const std::int64_t group_bytes = panel_bytes(type_, inputs_) * kGroup;
  Product product{.type = type_,
                  .panels = static_cast<const std::byte*>(storage_.const_data_ptr()),
                  .groups = static_cast<std::int64_t>(storage_.nbytes()) / std::max<std::int64_t>(group_bytes, 1),
                  .inputs = inputs_,
                  .rows = rows,
                  .output = kind};
  product.output.outputs = outputs_;
  product.output.width = kind.kind == Output::Kind::Gate ? outputs_ / 2 : outputs_;
  if (bias.defined()) product.output.bias = bias.const_data_ptr<float>();
  if (scales_.numel() > 0) product.output.scales = scales_.const_data_ptr<float>();
  return product;
}

at::Tensor room_for_rows(std::int64_t rows, std::int64_t width) {
  const std::int64_t bytes = rows * width * static_cast<std::int64_t>(sizeof(float));
  if (bytes < kLargeRoom) return at::empty({rows, width}, at::kFloat);
  return room_for(bytes).view(at::kFloat).view({rows, width});
}

at::Tensor PackedMatrix::product(const at::Tensor& x, const at::Tensor& bias) const {
  FORETELL_CHECK(!gated_, "a gated matrix has no plain product");
  at::Tensor y = at::empty({x.size(0), outputs_}, x.options());
  multiply_into(*this, x, {.kind = Output::Kind::Store}, bias, y);
  return y;
}

at::Tensor PackedMatrix::matmul_float(const at::Tensor& x, const at::Tensor& bias) const {
  FORETELL_CHECK(!gated_, "a gated matrix has no plain product");
  at::Tensor y = room_for_rows(x.size(0), outputs_);
  multiply_into(*this, x, {.kind = Output::Kind::Store}, bias, y);
  return y;
}

void PackedMatrix::matmul_accumulate(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& y) const {
  FORETELL_CHECK(!gated_ && y.is_contiguous() && y.scalar_type() == x.scalar_type() && y.size(0) == x.size(0) &&
                     y.size(1) == outputs_,
                 "rows that a product of {} outputs cannot be added to", outputs_);
  multiply_into(*this, x, {.kind = Output::Kind::Add}, bias, y);
}

at::Tensor PackedMatrix::matmul_glu(const at::Tensor& x, const at::Tensor& bias, Activation activation) const {
  FORETELL_CHECK(gated_, "a matrix without a gate");
  at::Tensor y = at::empty({x.size(0), outputs_ / 2}, x.options());
  multiply_into(*this, x, {.kind = Output::Kind::Gate, .activation = activation}, bias, y);
  return y;
}

}  // namespace foretell::kernels
