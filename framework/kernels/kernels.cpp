#include "framework/kernels/kernels.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "framework/core/cpu_clones.h"
#include "framework/core/error.h"
#include "framework/kernels/activation_math.h"
#include "framework/kernels/int8_rows.h"
#include "framework/kernels/lanes.h"

namespace foretell::kernels {
namespace {

using at::BFloat16;

constexpr std::int64_t kSerialElements = 32768;  // below, starting threads costs more than it saves

inline double rounded(double value, const double*) { return value; }
inline float rounded(float value, const float*) { return value; }
inline float rounded(float value, const BFloat16*) {
  BFloat16 result;
  store_one(&result, value);
  return load_one(&result);
}

// What rows of a type are computed in.
template <class T>
using Arithmetic = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class T>
inline __attribute__((always_inline)) void norm_row(const T* x, const T* gain, T* out, std::int64_t width,
                                                    Arithmetic<T> eps) {
  Arithmetic<T> sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < width; ++i) sum += load_one(x + i) * load_one(x + i);
  const Arithmetic<T> scale = 1 / std::sqrt(sum / static_cast<Arithmetic<T>>(width) + eps);
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) store_one(out + i, load_one(gain + i) * rounded(load_one(x + i) * scale, x));
}

FORETELL_CLONES void norm_row_f32(const float* x, const float* gain, float* out, std::int64_t width, float eps) {
  norm_row(x, gain, out, width, eps);
}
FORETELL_CLONES void norm_row_bf16(const BFloat16* x, const BFloat16* gain, BFloat16* out, std::int64_t width,
                                   float eps) {
  norm_row(x, gain, out, width, eps);
}
FORETELL_CLONES void norm_row_f64(const double* x, const double* gain, double* out, std::int64_t width, double eps) {
  norm_row(x, gain, out, width, eps);
}
void norm_one(const double* x, const double* gain, double* out, std::int64_t width, double eps) {
  norm_row_f64(x, gain, out, width, eps);
}
void norm_one(const float* x, const float* gain, float* out, std::int64_t width, float eps) {
  norm_row_f32(x, gain, out, width, eps);
}
void norm_one(const BFloat16* x, const BFloat16* gain, BFloat16* out, std::int64_t width, float eps) {
  norm_row_bf16(x, gain, out, width, eps);
}

template <class T>
void norm_rows(const at::Tensor& x, const at::Tensor& gain, at::Tensor& out, Arithmetic<T> eps) {
  const std::int64_t width = x.size(1);
  const T* in = x.const_data_ptr<T>();
  const T* gains = gain.const_data_ptr<T>();
  T* result = out.mutable_data_ptr<T>();
  at::parallel_for(0, x.size(0), std::max<std::int64_t>(1, kSerialElements / width),
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t row = begin; row < end; ++row)
                       norm_one(in + row * width, gains, result + row * width, width, eps);
                   });
}

template <class T>
void norm_parts(const at::Tensor& x, std::int64_t first, std::int64_t count, const at::Tensor& gain,
                Arithmetic<T> eps) {
  const std::int64_t width = gain.size(0), stride = x.size(1);
  const T* gains = gain.const_data_ptr<T>();
  T* values = x.mutable_data_ptr<T>() + first;
  at::parallel_for(0, x.size(0), std::max<std::int64_t>(1, kSerialElements / (count * width)),
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t row = begin; row < end; ++row) {
                       T* part = values + row * stride;
                       for (std::int64_t i = 0; i < count; ++i, part += width) norm_one(part, gains, part, width, eps);
                     }
                   });
}

// Turns one head in place: (a, b) -> (a cos - b sin, b cos + a sin) for each pair (Su et al. 2021, arXiv 2104.09864,
// equation 34).
template <int Step, class T>
FORETELL_INLINE void rotate_head(T* head, const Angles& angles, std::int64_t apart) {
#pragma omp simd
  for (std::int64_t i = 0; i < angles.pairs; ++i) {
    const float a = load_one(head + i * Step);
    const float b = load_one(head + i * Step + apart);
    store_one(head + i * Step, a * angles.cosines[i] - b * angles.sines[i]);
    store_one(head + i * Step + apart, b * angles.cosines[i] + a * angles.sines[i]);
  }
}

template <class T>
FORETELL_INLINE void rotate_each(T* first, int count, std::int64_t dim, const Angles& angles) {
  for (int h = 0; h < count; ++h, first += dim) {
    if (angles.interleaved) {
      rotate_head<2>(first, angles, 1);
    } else {
      rotate_head<1>(first, angles, angles.pairs);
    }
  }
}

FORETELL_CLONES void rotate_f32(float* first, int count, std::int64_t dim, const Angles& angles) {
  rotate_each(first, count, dim, angles);
}
FORETELL_CLONES void rotate_bf16(BFloat16* first, int count, std::int64_t dim, const Angles& angles) {
  rotate_each(first, count, dim, angles);
}

// Row `to` of each head of a cache from a row of the batch, [kv_heads, width].
template <class T>
void store_heads(const T* row, int kv_heads, std::int64_t width, std::int64_t to, const at::Tensor& cache,
                 const at::Tensor& scales) {
  const std::int64_t capacity = cache.size(1);
  for (int h = 0; h < kv_heads; ++h, row += width) {
    const std::int64_t place = h * capacity + to;
    if (scales.defined()) {
      scales.mutable_data_ptr<float>()[place] =
          round_to_int8(row, width, cache.mutable_data_ptr<std::int8_t>() + place * width);
    } else {
      std::memcpy(cache.mutable_data_ptr<T>() + place * width, row, static_cast<std::size_t>(width) * sizeof(T));
    }
  }
}

template <class T>
void rotate_and_store_rows(const at::Tensor& qkv, const HeadLayout& layout, const at::Tensor& cosines,
                           const at::Tensor& sines, std::span<const StoredRows> items) {
  const std::int64_t width = qkv.size(1);
  const std::int64_t dim = layout.head_dim;
  const std::int64_t value_dim = layout.value_dim();
  const std::int64_t pairs = cosines.defined() ? cosines.size(1) : 0;
  const float* cosine = pairs > 0 ? cosines.const_data_ptr<float>() : nullptr;
  const float* sine = pairs > 0 ? sines.const_data_ptr<float>() : nullptr;
  for (const StoredRows& item : items) {
    T* rows = qkv.mutable_data_ptr<T>() + item.offset * width;
    at::parallel_for(0, item.rows, std::max<std::int64_t>(1, kSerialElements / width),
                     [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t r = begin; r < end; ++r) {
                         T* row = rows + r * width;
                         const std::int64_t angle = (item.offset + r) * pairs;
                         if (pairs > 0) {
                           rotate_heads(row + layout.rotary_first, layout.heads + layout.kv_heads, dim,
                                        {cosine + angle, sine + angle, pairs, layout.interleaved});
                         }
                         const T* key = row + layout.heads * dim;
                         const T* value = key + layout.kv_heads * dim;
                         const std::int64_t to = item.cache_row(static_cast<int>(r));
                         store_heads(key, layout.kv_heads, dim, to, item.keys, item.key_scales);
                         store_heads(value, layout.kv_heads, value_dim, to, item.values, item.value_scales);
                       }
                     });
  }
}

bool has_kernel(const at::Tensor& x) {
  return x.device().is_cpu() && x.is_contiguous() &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}
bool is_wide(const at::Tensor& x) { return x.device().is_cpu() && x.is_contiguous() && x.scalar_type() == at::kDouble; }

}  // namespace

void rms_norm_row(const float* x, const float* gain, float* out, std::int64_t width, float eps) {
  norm_row_f32(x, gain, out, width, eps);
}
void rms_norm_row(const BFloat16* x, const BFloat16* gain, BFloat16* out, std::int64_t width, float eps) {
  norm_row_bf16(x, gain, out, width, eps);
}
void rotate_heads(float* first, int count, std::int64_t dim, const Angles& angles) {
  rotate_f32(first, count, dim, angles);
}
void rotate_heads(BFloat16* first, int count, std::int64_t dim, const Angles& angles) {
  rotate_bf16(first, count, dim, angles);
}

namespace {

at::ScalarType arithmetic_of(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

}  // namespace

at::Tensor rms_norm_aten(const at::Tensor& x, const at::Tensor& gain, double eps) {
  const at::Tensor wide = x.to(arithmetic_of(x));
  return wide.mul(wide.square().mean(-1, true).add(eps).rsqrt()).to(x.scalar_type()).mul(gain);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps) {
  if (!has_kernel(x) && !is_wide(x)) return rms_norm_aten(x, gain, eps);
  at::Tensor out = at::empty_like(x);
  if (is_wide(x)) {
    norm_rows<double>(x, gain, out, eps);
    return out;
  }
  x.scalar_type() == at::kFloat ? norm_rows<float>(x, gain, out, static_cast<float>(eps))
                                : norm_rows<BFloat16>(x, gain, out, static_cast<float>(eps));
  return out;
}

void rms_norm_parts_aten(const at::Tensor& x, std::int64_t first, std::int64_t count, const at::Tensor& gain,
                         double eps) {
  const at::Tensor parts = x.narrow(1, first, count * gain.size(0)).unflatten(1, {count, gain.size(0)});
  parts.copy_(rms_norm_aten(parts, gain, eps));
}

void rms_norm_parts(const at::Tensor& x, std::int64_t first, std::int64_t count, const at::Tensor& gain, double eps) {
  if (is_wide(x)) return norm_parts<double>(x, first, count, gain, eps);
  if (!has_kernel(x)) return rms_norm_parts_aten(x, first, count, gain, eps);
  x.scalar_type() == at::kFloat ? norm_parts<float>(x, first, count, gain, static_cast<float>(eps))
                                : norm_parts<BFloat16>(x, first, count, gain, static_cast<float>(eps));
}

void rotate_and_store_aten(const at::Tensor& qkv, const HeadLayout& layout, const at::Tensor& cosines,
                           const at::Tensor& sines, std::span<const StoredRows> items) {
  const std::int64_t turning = layout.heads + layout.kv_heads;
  const at::Tensor heads = qkv.narrow(1, 0, turning * layout.head_dim).unflatten(1, {turning, layout.head_dim});
  const at::Tensor kept = qkv.narrow(1, turning * layout.head_dim, std::int64_t{layout.kv_heads} * layout.value_dim())
                              .unflatten(1, {layout.kv_heads, layout.value_dim()});
  if (cosines.defined()) {
    const std::int64_t pairs = cosines.size(1);
    const at::Tensor turned = heads.narrow(2, layout.rotary_first, 2 * pairs);
    const at::Tensor first = layout.interleaved ? turned.slice(2, 0, 2 * pairs, 2) : turned.narrow(2, 0, pairs);
    const at::Tensor second = layout.interleaved ? turned.slice(2, 1, 2 * pairs, 2) : turned.narrow(2, pairs, pairs);
    const at::Tensor a = first.to(arithmetic_of(qkv), false, true);
    const at::Tensor b = second.to(arithmetic_of(qkv), false, true);
    const at::Tensor cosine = cosines.unsqueeze(1);
    const at::Tensor sine = sines.unsqueeze(1);
    first.copy_(a * cosine - b * sine);
    second.copy_(b * cosine + a * sine);
  }
  for (const StoredRows& item : items) {
    FORETELL_CHECK(!item.key_scales.defined(), "int8 rows of a cache on {}", qkv.device().str());
    const at::Tensor keys = heads.narrow(0, item.offset, item.rows).narrow(1, layout.heads, layout.kv_heads);
    const at::Tensor values = kept.narrow(0, item.offset, item.rows);
    if (item.cache_rows.empty()) {
      item.keys.narrow(1, item.start, item.rows).copy_(keys.transpose(0, 1));
      item.values.narrow(1, item.start, item.rows).copy_(values.transpose(0, 1));
      continue;
    }
    const at::Tensor to =
        at::tensor(std::vector<std::int64_t>(item.cache_rows.begin(), item.cache_rows.end()), at::kLong)
            .to(qkv.device());
    item.keys.index_copy_(1, to, keys.transpose(0, 1));
    item.values.index_copy_(1, to, values.transpose(0, 1));
  }
}

void rotate_and_store(const at::Tensor& qkv, const HeadLayout& layout, const at::Tensor& cosines,
                      const at::Tensor& sines, std::span<const StoredRows> items) {
  if (!has_kernel(qkv)) return rotate_and_store_aten(qkv, layout, cosines, sines, items);
  qkv.scalar_type() == at::kFloat ? rotate_and_store_rows<float>(qkv, layout, cosines, sines, items)
                                  : rotate_and_store_rows<BFloat16>(qkv, layout, cosines, sines, items);
}

namespace {

template <Activation kActivation, class T>
FORETELL_INLINE void activate_each(T* x, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) store_one(x + i, activated<kActivation>(load_one(x + i)));
}
template <class T>
FORETELL_INLINE void activate_row(T* x, std::int64_t count, Activation activation) {
  switch (activation) {
    case Activation::Silu: return activate_each<Activation::Silu>(x, count);
    case Activation::Gelu: return activate_each<Activation::Gelu>(x, count);
    case Activation::GeluTanh: return activate_each<Activation::GeluTanh>(x, count);
    case Activation::Relu: return activate_each<Activation::Relu>(x, count);
  }
}
FORETELL_CLONES void activate_row_f32(float* x, std::int64_t count, Activation activation) {
  activate_row(x, count, activation);
}
FORETELL_CLONES void activate_row_bf16(BFloat16* x, std::int64_t count, Activation activation) {
  activate_row(x, count, activation);
}
void activate_one(float* x, std::int64_t count, Activation activation) { activate_row_f32(x, count, activation); }
void activate_one(BFloat16* x, std::int64_t count, Activation activation) { activate_row_bf16(x, count, activation); }

double activated_wide(double x, Activation activation) {
  switch (activation) {
    case Activation::Silu: return x / (1 + std::exp(-x));
    case Activation::Gelu: return x * 0.5 * std::erfc(-x * 0.70710678118654752);
    case Activation::GeluTanh: return x / (1 + std::exp(-1.5957691216057308 * (x + 0.044715 * x * x * x)));
    case Activation::Relu: return std::max(x, 0.0);
  }
  return x;
}
void activate_one(double* x, std::int64_t count, Activation activation) {
  for (std::int64_t i = 0; i < count; ++i) x[i] = activated_wide(x[i], activation);
}

template <class T>
void activate_rows(const at::Tensor& x, Activation activation) {
  T* const first = x.mutable_data_ptr<T>();
  const std::int64_t width = x.size(1), apart = x.stride(0);
  at::parallel_for(0, x.size(0), std::max<std::int64_t>(1, kSerialElements / std::max<std::int64_t>(width, 1)),
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t row = begin; row < end; ++row)
                       activate_one(first + row * apart, width, activation);
                   });
}

}  // namespace

at::Tensor activate_aten(at::Tensor x, Activation activation) {
  switch (activation) {
    case Activation::Silu: return at::silu_(x);
    case Activation::Gelu: return at::gelu_(x, "none");
    case Activation::GeluTanh: return at::gelu_(x, "tanh");
    case Activation::Relu: return at::relu_(x);
  }
  return x;
}

at::Tensor activate(at::Tensor x, Activation activation) {
  const bool has_rows = x.device().is_cpu() && x.dim() == 2 && x.stride(1) == 1;
  if (has_rows && x.scalar_type() == at::kFloat) {
    activate_rows<float>(x, activation);
  } else if (has_rows && x.scalar_type() == at::kBFloat16) {
    activate_rows<BFloat16>(x, activation);
  } else if (has_rows && x.scalar_type() == at::kDouble) {
    activate_rows<double>(x, activation);
  } else {
    return activate_aten(std::move(x), activation);
  }
  return x;
}

at::Tensor sigmoid(const at::Tensor& x) {
  if (!x.device().is_cpu()) return at::sigmoid(x);
  const at::Tensor out = x.to(at::kDouble, false, true).contiguous();
  double* const values = out.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < out.numel(); ++i) values[i] = 1 / (1 + std::exp(-values[i]));
  return out.to(x.scalar_type());
}

}  // namespace foretell::kernels
