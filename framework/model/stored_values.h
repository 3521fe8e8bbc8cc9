// Between tensors in a file and tensors in memory.
//
// Contract: tensor_of() copies (bytes in a file may lie unaligned and go away); the type stays the file's. A type that
// is not one of F64, F32, F16 and BF16 is an Error.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "framework/formats/safetensors.h"

namespace foretell::model {

at::Tensor tensor_of(const formats::StoredTensor& stored, const std::string& name);

// Integers and truth values as int64: maps between vocabularies.
at::Tensor integers_of(const formats::StoredTensor& stored, const std::string& name);
bool holds_integers(const formats::StoredTensor& stored);

// The tensor in float32 or bfloat16, written when the file is.
formats::NewTensor stored_as(const std::string& name, const at::Tensor& value, at::ScalarType type);

}  // namespace foretell::model
