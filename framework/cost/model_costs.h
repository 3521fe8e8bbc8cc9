// What a forward of a decoder-only transformer has to compute, read and keep, by arithmetic.
//
// Contract: pure functions of a plain shape. A multiplication and an addition are two operations. Counted are the
// matrices, the head and attention; norms, biases, rotation and activations are left out (under a thousandth in a model
// of usual width). Attention is causal: row i of n after `context` cached tokens attends to context + i of them. The
// rows of a draft tree attend to their ancestors only; taken for a chain they are overstated by less than n^2 / 2
// pairs. Sizes are in bytes. Weights are read once in a forward whatever its rows, but for experts: of E experts, k for
// a token, t rows are expected to touch E (1 - (1 - k/E)^t), if routing is uniform and independent (MoESD 2025, arXiv
// 2505.19645). Real routing repeats itself and touches fewer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace foretell::cost {

struct ModelShape {
  int vocab = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int intermediate = 0;       // of the MLP, or of one expert
  bool gated_mlp = true;      // three matrices in place of two
  bool tied_head = false;     // the head is the embedding table
  int experts = 1;            // of each layer; 1: a dense model
  int active_experts = 1;     // that a token is sent to
  double shared_experts = 0;  // that every token is sent to beside those: their width in units of an expert's
  double weight_bytes = 4;    // of a number in the layers' matrices: 2 for bfloat16, 0.25 for packed ternary ones
  double head_bytes = 4;      // of a number in the embedding table and the head
  double cache_bytes = 4;     // of a number in the cache
};

// Numbers in all matrices, all experts and the embedding table included.
double parameter_count(const ModelShape& shape);
// Numbers in the matrices that one token is multiplied with, the head included, the table that it is looked up in not.
double active_parameter_count(const ModelShape& shape);
// Bytes of all of them.
double stored_weight_bytes(const ModelShape& shape);
// Bytes of the keys and values of so many tokens.
double stored_cache_bytes(const ModelShape& shape, double tokens);
// Experts of a layer that `rows` rows are expected to touch, the shared ones not counted.
double expected_experts(int experts, double active, double rows);

struct ForwardCost {
  double operations = 0;
  double weight_bytes = 0;         // read
  double cache_read_bytes = 0;     // of the tokens that were there before; rows of one forward share a reading
  double cache_written_bytes = 0;  // of the new rows

  double bytes() const { return weight_bytes + cache_read_bytes + cache_written_bytes; }
  // [operations / byte] below the machine's own ratio of the two, memory decides how long the forward takes.
  double intensity() const { return operations / bytes(); }
};

// One forward of `rows` rows after `context` cached tokens; `head_rows` of them are asked for their logits (all, if
// absent). `touched`: the distinct experts that a layer was measured to use; what is expected, if absent.
ForwardCost forward_cost(const ModelShape& shape, double rows, double context, std::optional<double> head_rows = {},
                         std::optional<double> touched = {});

// What a run held at its most.
struct MemoryUse {
  double weights = 0;                  // of all models
  double caches = 0;                   // of all sequences and models
  std::optional<double> process = {};  // resident, all together; absent where the system does not tell
  // What is neither: activations, the program, the allocator's reserve. Absent without `process`; mapped weights that
  // were never touched make it negative, and it is then 0.
  std::optional<double> rest() const;
};

// [bytes] the most that the process ever held resident (VmHWM of Linux); absent where that is not told.
std::optional<double> peak_process_bytes(const std::filesystem::path& status = "/proc/self/status");

}  // namespace foretell::cost
