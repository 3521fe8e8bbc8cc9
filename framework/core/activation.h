/// The activations of MLPs, by which kernels, model descriptions and training mean the same.
#pragma once

namespace foretell {

enum class Activation { Silu, Gelu, GeluTanh, Relu };

}  // namespace foretell
