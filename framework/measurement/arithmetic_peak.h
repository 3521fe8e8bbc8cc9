// How many operations per second this machine's processors reach, by number format.
//
// Contract: operations are multiplications and additions of products, two for each pair of factors. Two figures, of
// which the larger is the peak: a loop of the widest instruction on registers alone, one loop a thread, with as many
// sums as hide its latency; and LibTorch's product of two square matrices, which knows instructions that the loop does
// not (AMX tiles). A format without either is absent. All LibTorch's threads compute.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace foretell::measurement {

struct ArithmeticPeak {
  std::string format;                         // "fp32", "bf16", "int8"
  std::optional<double> registers = {};       // [operations / s] of the loop
  std::string instruction = {};               // which it is
  std::optional<double> matrix_product = {};  // of LibTorch
  std::optional<double> best() const;
};

// Takes about `seconds` for each figure.
std::vector<ArithmeticPeak> measure_arithmetic_peaks(double seconds);

// [s] of a parallel region of so many threads that does nothing: the least that an operator takes.
double parallel_region_seconds(int threads);

}  // namespace foretell::measurement
