// What the differentiable operations of training share: raw views of tensors, and names of autograd's.
//
// Contract: for the .cpp files of these operations only; including it costs as much as all of ATen.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>

namespace foretell::kernels::training {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Whether training_kernels.h computes on it.
inline bool has_kernel(const at::Tensor& x) { return x.device().is_cpu() && x.scalar_type() == at::kFloat; }

inline const float* data(const at::Tensor& t) { return t.defined() ? t.const_data_ptr<float>() : nullptr; }
inline float* writable(at::Tensor& t) { return t.mutable_data_ptr<float>(); }
inline at::Tensor dense(const at::Tensor& t) { return t.defined() ? t.contiguous() : t; }

}  // namespace foretell::kernels::training
