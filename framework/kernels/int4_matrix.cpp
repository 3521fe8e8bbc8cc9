#include "framework/kernels/int4_matrix.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones_like.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "framework/core/cpu_clones.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/kernels/activation_math.h"
#include "framework/kernels/lanes.h"

namespace foretell::kernels {
namespace {

using at::BFloat16;

constexpr int kStripPanels = 4, kStripOutputs = kStripPanels * kLanes;
constexpr int kOctet = 8;                          // inputs of an output in 32 bits
constexpr int kInt4Rows = 8;                       // of a block
constexpr std::int64_t kInt4SerialWork = 1 << 17;  // multiplications below which one thread does them
constexpr std::int64_t kInt4Ahead = 2048;          // bytes of a strip that are on their way

using Words = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));
using Integers = std::int32_t __attribute__((vector_size(kLanes * sizeof(std::int32_t))));

// A strip of 64 outputs and the rows that pass over it.
struct Strip {
  const std::byte* at;
  std::int64_t groups, octets;  // octets of a group
  bool zero_points;
};
struct Rows {
  const float* x;     // [inputs, rows]: what one input needs lies side by side
  const float* sums;  // [groups, rows] of x
};

std::int64_t group_bytes(std::int64_t group, bool zero_points) {
  return group / kOctet * kStripOutputs * 4 + kStripOutputs * 2 + (zero_points ? kStripOutputs : 0);
}

// The numbers of one input: 0 ... 15, less 8 where there are no zero points.
template <bool kLookUp>
FORETELL_INLINE void numbers_of(const Words& octet, int input, [[maybe_unused]] const Lanes& table, int less,
                                Lanes& numbers) {
#if !defined(__clang__)
  if constexpr (kLookUp) {  // an index is taken modulo 16
    numbers = __builtin_shuffle(table, reinterpret_cast<Integers>(octet >> (4 * input)));
    return;
  }
#endif
  numbers = __builtin_convertvector(reinterpret_cast<Integers>((octet >> (4 * input)) & 15u) - less, Lanes);
}

// sums [4][kRows][16] of a strip with kRows rows.
template <bool kLookUp, int kRows>
FORETELL_INLINE void multiply_strip(const Strip& strip, const Rows& rows, float* sums) {
  constexpr int kPanels = kRows > 4 ? 2 : kStripPanels;  // at a time: 16 sums in registers
  const int less = strip.zero_points ? 0 : 8;
  Lanes table;
  for (int i = 0; i < kLanes; ++i) table[i] = static_cast<float>(i - less);
  std::fill_n(sums, kStripPanels * kRows * kLanes, 0.0f);
  const std::byte* at = strip.at;
  const float* x = rows.x;
  for (std::int64_t group = 0; group < strip.groups; ++group) {
    const std::byte* const behind = at + strip.octets * kStripOutputs * 4;
    Lanes zeros[kStripPanels] = {}, scales[kStripPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kStripPanels; ++p) {
      std::uint16_t halves[kLanes];
      float wide[kLanes];
      std::memcpy(halves, behind + 2 * kLanes * p, sizeof halves);
      for (int i = 0; i < kLanes; ++i) wide[i] = c10::detail::fp16_ieee_to_fp32_value(halves[i]);
      load(wide, scales[p]);
      if (!strip.zero_points) continue;
      std::uint8_t bytes[kLanes];
      std::memcpy(bytes, behind + 2 * kStripOutputs + kLanes * p, sizeof bytes);
      for (int i = 0; i < kLanes; ++i) wide[i] = bytes[i];
      load(wide, zeros[p]);
    }
    for (int first = 0; first < kStripPanels; first += kPanels) {
      Lanes total[kPanels][kRows] = {};
      for (std::int64_t octet = 0; octet < strip.octets; ++octet) {
        const std::byte* from = at + (octet * kStripPanels + first) * 4 * kLanes;
        Words words[kPanels];
#pragma GCC unroll 4
        for (int p = 0; p < kPanels; ++p) {
          __builtin_prefetch(from + kInt4Ahead + 4 * kLanes * p);
          std::memcpy(&words[p], from + 4 * kLanes * p, sizeof words[p]);
        }
        // Input by input, so that what is spread over the lanes of a register is used by all panels and then gone.
#pragma GCC unroll 8
        for (int i = 0; i < kOctet; ++i) {
          Lanes weights[kPanels];
#pragma GCC unroll 4
          for (int p = 0; p < kPanels; ++p) numbers_of<kLookUp>(words[p], i, table, less, weights[p]);
#pragma GCC unroll 8
          for (int r = 0; r < kRows; ++r) {
            const float one = x[(octet * kOctet + i) * kRows + r];
#pragma GCC unroll 4
            for (int p = 0; p < kPanels; ++p) total[p][r] += weights[p] * one;
          }
        }
      }
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          float* to = sums + ((first + p) * kRows + r) * kLanes;
          Lanes before;
          load(to, before);
          if (strip.zero_points) total[p][r] -= zeros[first + p] * rows.sums[group * kRows + r];
          store(to, before + scales[first + p] * total[p][r]);
        }
      }
    }
    at = behind + 2 * kStripOutputs + (strip.zero_points ? kStripOutputs : 0);
    x += strip.octets * kOctet * kRows;
  }
}

template <bool kLookUp>
FORETELL_INLINE void multiply_any(const Strip& strip, const Rows& rows, int count, float* sums) {
  if (count == 1) return multiply_strip<kLookUp, 1>(strip, rows, sums);
  if (count == 2) return multiply_strip<kLookUp, 2>(strip, rows, sums);
  if (count == 4) return multiply_strip<kLookUp, 4>(strip, rows, sums);
  multiply_strip<kLookUp, kInt4Rows>(strip, rows, sums);
}

FORETELL_CLONES void multiply_generic(const Strip& strip, const Rows& rows, int count, float* sums) {
  multiply_any<false>(strip, rows, count, sums);
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
__attribute__((target("arch=x86-64-v4"))) void multiply_by_look_up(const Strip& strip, const Rows& rows, int count,
                                                                   float* sums) {
  multiply_any<true>(strip, rows, count, sums);
}
bool has_look_up() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"); }
#else
void multiply_by_look_up(const Strip& strip, const Rows& rows, int count, float* sums) {
  multiply_generic(strip, rows, count, sums);
}
bool has_look_up() { return false; }
#endif

void multiply(const Strip& strip, const Rows& rows, int count, float* sums) {
  static const bool look_up = has_look_up();
  return look_up ? multiply_by_look_up(strip, rows, count, sums) : multiply_generic(strip, rows, count, sums);
}

// There is code for 1, 2, 4 and 8 rows; rows that are missing are zero.
int rows_in_code(std::int64_t rows) { return rows > 4 ? kInt4Rows : rows > 2 ? 4 : static_cast<int>(rows); }

// Blocks of rows, turned, with their sums over groups.
class Blocks {
 public:
  template <class T>
  void lay_out(const T* x, const std::int64_t* order, std::int64_t rows, std::int64_t inputs, std::int64_t group) {
    inputs_ = inputs;
    groups_ = inputs / group;
    const std::int64_t blocks = (rows + kInt4Rows - 1) / kInt4Rows;
    x_.assign(static_cast<std::size_t>(blocks * kInt4Rows * inputs), 0.0f);
    sums_.assign(static_cast<std::size_t>(blocks * kInt4Rows * groups_), 0.0f);
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t first = row / kInt4Rows * kInt4Rows;
      const int count = rows_in_code(std::min<std::int64_t>(kInt4Rows, rows - first));
      float* to = x_.data() + first * inputs + (row - first);
      float* sums = sums_.data() + first * groups_ + (row - first);
      for (std::int64_t i = 0; i < inputs; ++i) {
        const float value = load_one(x + row * inputs + (order ? order[i] : i));
        to[i * count] = value;
        sums[i / group * count] += value;
      }
    }
  }
  Rows block(std::int64_t first) const { return {x_.data() + first * inputs_, sums_.data() + first * groups_}; }

 private:
  std::vector<float> x_, sums_;
  std::int64_t inputs_ = 0, groups_ = 0;
};

struct Finish {
  const float* bias = nullptr;
  bool adds = false;
  std::optional<Activation> activation = {};  // of gates, which lie 64 after 64 before what they are multiplied with
  std::int64_t outputs = 0;                   // of the matrix
  std::int64_t width = 0;                     // of a row of y
};

// Where the strip's outputs begin, and where panel p's are among the matrix's. Gated: panels of gates and of others
// alternate.
std::int64_t first_output(std::int64_t strip, int panel, bool gated, std::int64_t outputs) {
  const std::int64_t number = strip * kStripPanels + panel;
  return gated ? number % 2 * (outputs / 2) + number / 2 * kLanes : number * kLanes;
}

float activated_by(Activation activation, float x) {
  switch (activation) {
    case Activation::Silu: return kernels::activated<Activation::Silu>(x);
    case Activation::Gelu: return kernels::activated<Activation::Gelu>(x);
    case Activation::GeluTanh: return kernels::activated<Activation::GeluTanh>(x);
    case Activation::Relu: return kernels::activated<Activation::Relu>(x);
  }
  return x;
}

template <class Y>
void finish(const Finish& how, std::int64_t strip, int rows, int used, float* sums, Y* y) {
  const bool gated = how.activation.has_value();
  for (int p = 0; p < kStripPanels; p += gated ? 2 : 1) {
    const std::int64_t first = first_output(strip, p, gated, how.outputs);
    const std::int64_t count = std::min<std::int64_t>(kLanes, how.width - first);
    for (int r = 0; r < used; ++r) {
      float* of = sums + (p * rows + r) * kLanes;
      Y* to = y + r * how.width + first;
      for (std::int64_t i = 0; i < count; ++i) {
        float value = of[i] + (how.bias ? how.bias[first + i] : 0.0f);
        if (gated) {
          const float other = of[rows * kLanes + i] + (how.bias ? how.bias[how.outputs / 2 + first + i] : 0.0f);
          value = activated_by(*how.activation, value) * other;
        }
        store_one(to + i, how.adds ? load_one(to + i) + value : value);
      }
    }
  }
}

struct Source {
  const std::byte* strips;
  std::int64_t count, stride, groups, group;
  bool zero_points;
  const std::int64_t* order;
};

template <class T, class Y>
void multiply_all(const Source& source, const at::Tensor& x, const Finish& how, const at::Tensor& y) {
  static thread_local Blocks blocks;
  const std::int64_t rows = x.size(0), inputs = x.size(1);
  if (rows == 0) return;
  blocks.lay_out(x.const_data_ptr<T>(), source.order, rows, inputs, source.group);
  const Blocks& laid_out = blocks;  // the caller's, not those of the threads below
  Y* const out = y.mutable_data_ptr<Y>();
  const std::int64_t grain = std::max<std::int64_t>(1, kInt4SerialWork / (rows * inputs * kStripOutputs));
  at::parallel_for(0, source.count, grain, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) float sums[kStripOutputs * kInt4Rows];
    for (std::int64_t s = begin; s < end; ++s) {
      const Strip strip{source.strips + s * source.stride, source.groups, source.group / kOctet, source.zero_points};
      for (std::int64_t first = 0; first < rows; first += kInt4Rows) {
        const int used = static_cast<int>(std::min<std::int64_t>(kInt4Rows, rows - first)), count = rows_in_code(used);
        multiply(strip, laid_out.block(first), count, sums);
        finish(how, s, count, used, sums, out + first * how.width);
      }
    }
  });
}

// One group of one output, from the values' row.
void fill_group(const Int4Values& values, std::int64_t output, std::int64_t group, int lane, int panel, std::byte* to) {
  const std::uint8_t* q = values.q.const_data_ptr<std::uint8_t>() + output * values.q.size(1) + group * values.group;
  const std::int64_t octets = values.group / kOctet;
  for (std::int64_t octet = 0; octet < octets; ++octet) {
    std::uint32_t word = 0;
    for (int i = 0; i < kOctet; ++i) word |= std::uint32_t{q[octet * kOctet + i]} << (4 * i);
    std::memcpy(to + ((octet * kStripPanels + panel) * kLanes + lane) * 4, &word, sizeof word);
  }
  const std::int64_t at = output * values.scales.size(1) + group;
  const std::uint16_t half = c10::detail::fp16_ieee_from_fp32_value(values.scales.const_data_ptr<float>()[at]);
  std::byte* const behind = to + octets * kStripOutputs * 4;
  std::memcpy(behind + (panel * kLanes + lane) * 2, &half, sizeof half);
  if (values.zeros.defined())
    behind[2 * kStripOutputs + panel * kLanes + lane] = std::byte{values.zeros.const_data_ptr<std::uint8_t>()[at]};
}

}  // namespace

Int4Values rounded_to_int4(const at::Tensor& weight, const Int4Format& format) {
  const std::int64_t outputs = weight.size(0), inputs = weight.size(1);
  if (format.group < kOctet || format.group % kOctet != 0 || inputs % format.group != 0)
    fail("int4: groups of {} do not divide {}; a multiple of {} is needed that does", format.group,
         counted(inputs, "input"), kOctet);
  const at::Tensor groups = weight.to(at::kFloat).reshape({outputs, inputs / format.group, format.group});
  const at::Tensor low = groups.amin(2).clamp_max(0), high = groups.amax(2).clamp_min(0);
  Int4Values values{.group = format.group};
  // Without zero points the number of larger magnitude becomes -8 scales, so the scale has its sign turned.
  const at::Tensor wide = format.zero_points ? high.sub(low).div(15.0) : high.where(high > low.neg(), low).div(-8.0);
  values.scales = wide.to(at::kHalf).to(at::kFloat).contiguous();
  const at::Tensor divisors = values.scales.where(values.scales.ne(0), at::ones_like(values.scales));
  if (format.zero_points) values.zeros = low.neg().div(divisors).round().clamp(0, 15).to(at::kByte).contiguous();
  const at::Tensor zeros = format.zero_points ? values.zeros.to(at::kFloat) : at::ones_like(divisors).mul(8);
  values.q = groups.div(divisors.unsqueeze(2)).round().add(zeros.unsqueeze(2)).clamp(0, 15).to(at::kByte);
  values.q = values.q.reshape({outputs, inputs}).contiguous();
  return values;
}

Int4Matrix::Int4Matrix(const Int4Values& values, bool gated)
    : order_(values.order),
      gated_(gated),
      zero_points_(values.zeros.defined()),
      inputs_(values.q.size(1)),
      outputs_(values.q.size(0)),
      group_(values.group) {
  FORETELL_CHECK(!gated || outputs_ % 2 == 0, "a gated matrix of {} outputs", outputs_);
  FORETELL_CHECK(group_ % kOctet == 0 && inputs_ % group_ == 0, "groups of {} in {} inputs", group_, inputs_);
  const std::int64_t groups = inputs_ / group_, bytes = group_bytes(group_, zero_points_);
  FORETELL_CHECK(values.scales.numel() == outputs_ * groups, "{} scales", values.scales.numel());
  const std::int64_t width = gated ? outputs_ / 2 : outputs_;
  const std::int64_t per_strip = gated ? kStripOutputs / 2 : kStripOutputs;
  const std::int64_t strips = (width + per_strip - 1) / per_strip;
  storage_ = at::empty({strips * groups * bytes}, at::kByte);
  auto* const to = static_cast<std::byte*>(storage_.mutable_data_ptr());
  at::parallel_for(0, strips, 1, [&](std::int64_t begin, std::int64_t end) {
    std::fill(to + begin * groups * bytes, to + end * groups * bytes, std::byte{0});
    for (std::int64_t strip = begin; strip < end; ++strip) {
      for (int panel = 0; panel < kStripPanels; ++panel) {
        const std::int64_t first = first_output(strip, panel, gated, outputs_);
        const std::int64_t last = !gated || panel % 2 == 1 ? outputs_ : width;
        for (int lane = 0; lane < kLanes && first + lane < last; ++lane)
          for (std::int64_t group = 0; group < groups; ++group)
            fill_group(values, first + lane, group, lane, panel, to + (strip * groups + group) * bytes);
      }
    }
  });
}

void Int4Matrix::multiply_into(const at::Tensor& x, const at::Tensor& bias, const Product& product,
                               const at::Tensor& y) const {
  FORETELL_CHECK(x.dim() == 2 && x.size(1) == inputs_ && x.is_contiguous() && y.is_contiguous(),
                 "rows of another width than {}, or not contiguous", inputs_);
  FORETELL_CHECK(gated_ == product.activation.has_value(), "a gated matrix has one product, others have no gate");
  const std::int64_t groups = inputs_ / group_, stride = groups * group_bytes(group_, zero_points_);
  const Source source{.strips = static_cast<const std::byte*>(storage_.const_data_ptr()),
                      .count = static_cast<std::int64_t>(storage_.nbytes()) / stride,
                      .stride = stride,
                      .groups = groups,
                      .group = group_,
                      .zero_points = zero_points_,
                      .order = order_.defined() ? order_.const_data_ptr<std::int64_t>() : nullptr};
  const Finish how{.bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                   .adds = product.adds,
                   .activation = product.activation,
                   .outputs = outputs_,
                   .width = y.size(1)};
  const bool narrow = x.scalar_type() == at::kBFloat16, rounds = y.scalar_type() == at::kBFloat16;
  FORETELL_CHECK(narrow || (x.scalar_type() == at::kFloat && !rounds), "rows of another type");
  if (!narrow) return multiply_all<float, float>(source, x, how, y);
  rounds ? multiply_all<BFloat16, BFloat16>(source, x, how, y) : multiply_all<BFloat16, float>(source, x, how, y);
}

at::Tensor Int4Matrix::product(const at::Tensor& x, const at::Tensor& bias) const {
  at::Tensor y = at::empty({x.size(0), outputs_}, x.scalar_type());
  multiply_into(x, bias, {}, y);
  return y;
}

at::Tensor Int4Matrix::matmul_float(const at::Tensor& x, const at::Tensor& bias) const {
  at::Tensor y = at::empty({x.size(0), outputs_}, at::kFloat);
  multiply_into(x, bias, {}, y);
  return y;
}

void Int4Matrix::matmul_accumulate(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& y) const {
  multiply_into(x, bias, {.adds = true}, y);
}

at::Tensor Int4Matrix::matmul_glu(const at::Tensor& x, const at::Tensor& bias, Activation activation) const {
  at::Tensor y = at::empty({x.size(0), outputs_ / 2}, x.scalar_type());
  multiply_into(x, bias, {.activation = activation}, y);
  return y;
}

// A product with the unit matrix is exact: each sum has one term.
at::Tensor Int4Matrix::dequantize() const {
  if (!gated_) return product(at::eye(inputs_), {}).t().contiguous();
  Int4Matrix plain = *this;
  plain.gated_ = false;
  plain.outputs_ = static_cast<std::int64_t>(storage_.nbytes()) / (inputs_ / group_) /
                   group_bytes(group_, zero_points_) * kStripOutputs;
  const at::Tensor panels = plain.product(at::eye(inputs_), {}).t().unflatten(0, {-1, 2, kLanes});
  const auto part = [&](std::int64_t which) {
    return panels.select(1, which).flatten(0, 1).narrow(0, 0, outputs_ / 2);
  };
  return at::cat({part(0), part(1)});
}

}  // namespace foretell::kernels
