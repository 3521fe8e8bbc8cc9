// The one precompiled header of everything on the LibTorch side. It is included by the build, never by a source file:
// each file still names what it uses, so it also compiles without it (and the tools that read single files see the
// truth).
//
// What is in here: headers that are expensive to parse and rarely change. Not all of ATen: files name the operators
// that they call (ATen/ops/...), and ATen/TensorOperators.h where they calculate: its inline functions make GCC
// instantiate templates again in every file that sees them. None of our own, or every edit would rebuild everything.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/plain_pch.h"
