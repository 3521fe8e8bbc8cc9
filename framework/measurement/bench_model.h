// What one forward of 1, 2, 4 ... rows costs on this machine, beside what its memory allows.
//
// Contract: repeats are interleaved over the row counts, so that a slow spell of the machine touches all of them alike;
// reported are medians, and the 90th percentile, which other work on the machine raises first. Every row count is
// warmed up first. `gbs` counts what a forward has to read: all weights once (of the embedding table only the rows that
// are looked up, unless it is the head too) and the cache rows that are attended to.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "framework/model/forward_probe.h"
#include "framework/model/load_model.h"

namespace foretell::measurement {

struct BenchModelOptions {
  std::vector<int> rows = {1, 2, 4, 8, 16, 32, 64};
  int context = 128;  // cache rows before the measured ones; may exceed the model's context where positions are rotary
  int repeats = 11;   // of each row count
  Tokens text = {};   // on which the logits of int8 and int4 weights are compared; empty: random tokens
  int batch = 1;      // sequences, each with so many rows and a context of its own
};

// How far the logits of a model with int8 or int4 weights, or with an int8 KV cache, are from those of the model that
// it was made of.
struct RoundingError {
  int rows = 0;  // compared
  bool random_text = true;
  double mean = 0, largest = 0, spread = 0;                      // of |difference|; the logits' own standard deviation
  double same_top = 0;                                           // share of rows with the same most likely token
  std::optional<double> perplexity = {}, exact_perplexity = {};  // of a text that was given
  double kl = 0;  // of the rounded distribution from the other, mean over the rows, in nats
};

struct BenchModelRow {
  int rows = 0;
  double median_ms = 0;
  double p90_ms = 0;
  double gbs = 0;  // 1e9 bytes a second
};

struct BenchModelReport {
  double read_bandwidth_gbs = 0;          // what is attainable (read_bandwidth.h) over `read_bytes` with all threads
  double read_bytes = 0;                  // what a forward reads, at most 2 GiB; less where memory is short
  double weight_bytes = 0;                // read by every forward
  std::string dtype;                      // "f32", "bf16", "int8" or "int4"
  std::string matrix_path;                // of products of bf16 rows (framework/kernels/matrix_path.h)
  std::optional<RoundingError> rounding;  // int8 and int4 only
  std::optional<RoundingError> cache_rounding;  // int8 cache only
  int threads = 0;
  int batch = 1;
  std::vector<BenchModelRow> rows;
  std::vector<std::string> notes;  // what the reader should know: memory was short, ...
};

struct ForwardTimesOptions {
  int context = 0;  // rows in the cache before
  int repeats = 1;
  int batch = 1;
  // Counts that follow one whose warm-up took more are left out: the result is shorter by them.
  std::optional<double> longest_ms = std::nullopt;
  // The model that drafts. Before a forward of n rows it takes the n - 1 steps (16 at most) of a chain that long, as in
  // a round.
  const model::LanguageModel* draft = nullptr;
};

// Milliseconds of the repeated forwards of each row count, interleaved, after one warm-up of each. A short forward
// follows an untimed one of its own count, because what it finds in the caches is a good part of what it takes.
std::vector<std::vector<double>> forward_times_ms(const model::LanguageModel& model, const std::vector<int>& rows,
                                                  const ForwardTimesOptions& options);

// By row count how many distinct experts of a layer such forwards touch, on average; empty for a dense model.
std::vector<double> touched_experts(const model::LanguageModel& model, const std::vector<int>& rows, int context);

// One forward pass by kind of operator: medians over the repeats.
struct ForwardProfile {
  std::array<double, model::ForwardProbe::kParts> seconds = {};  // by ForwardProbe::Part
  double wall = 0;                                               // of the whole, by a clock of its own
};
// Of `rows` tokens behind `context`, on the CPU.
ForwardProfile profile_forward(const model::LanguageModel& model, int rows, int context, int repeats);

BenchModelReport bench_model(const std::filesystem::path& folder, const model::ModelLoadOptions& load,
                             const BenchModelOptions& options);

}  // namespace foretell::measurement
