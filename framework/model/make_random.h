// Random weights for a config: for cost studies and for tests, where only shapes and determinism count.
//
// Contract: writes `out_dir`/config.json (what was understood of the given file, in the current spelling) and
// `out_dir`/model.safetensors in the config's dtype; no tokenizer. The same config and seed give the same bytes on
// every machine: values come from a counter-based generator keyed by (seed, tensor name, element) and are made of
// integer sums only.
//
// Scale: matrices have deviation 1 / sqrt(input width), so that every sublayer keeps the size of what it reads;
// embeddings and the head 3 / sqrt(hidden), so that logits have deviation near 3 and argmaxes are separated; norm gains
// are 1 +- 0.05, biases 0 +- 0.02. Ternary matrices are a third each of -1, 0 and 1, their scale sqrt(1.5 * input
// width) makes their outputs as large as those of the others.
#pragma once

#include <cstdint>
#include <filesystem>

namespace foretell::model {

void make_random(const std::filesystem::path& config_json, const std::filesystem::path& out_dir, std::uint64_t seed);

}  // namespace foretell::model
