// The loops over rows of logits.
#include <ATen/Parallel.h>

#include <cmath>
#include <vector>

#include "framework/core/cpu_clones.h"
#include "framework/kernels/fast_exp.h"
#include "framework/kernels/training/training_kernels.h"

namespace foretell::kernels::training {
namespace {

FORETELL_CLONES double cross_entropy_row(float* logits, std::int64_t vocab, std::int64_t target, float weight) {
  float largest = logits[0];
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 0; i < vocab; ++i) largest = std::max(largest, logits[i]);
  const float at_target = logits[target] - largest;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < vocab; ++i) {
    logits[i] = fast_exp(logits[i] - largest);
    sum += logits[i];
  }
  const float scale = weight / sum;
#pragma omp simd
  for (std::int64_t i = 0; i < vocab; ++i) logits[i] *= scale;
  logits[target] -= weight;
  return weight * (std::log(static_cast<double>(sum)) - at_target);
}

float largest_of(const float* values, std::int64_t count) { return *std::max_element(values, values + count); }

struct RowSums {
  float plain = 0, soft = 0, teacher = 0;
};

// The sums of e^s, e^(s / T) and e^(t / T), each with its largest exponent at 0.
FORETELL_CLONES RowSums distill_sums(const float* student, const float* teacher, std::int64_t vocab,
                                     const float* largest, float inverse) {
  float plain = 0, soft = 0, other = 0;
#pragma omp simd reduction(+ : plain, soft, other)
  for (std::int64_t i = 0; i < vocab; ++i) {
    plain += fast_exp(student[i] - largest[0]);
    soft += fast_exp((student[i] - largest[0]) * inverse);
    other += fast_exp((teacher[i] - largest[1]) * inverse);
  }
  return {plain, soft, other};
}

struct MixRow {
  float ce, kl, tvd, inverse;  // inverse: 1 / T
};

// d(ce) = q1, d(T^2 kl) = T (q - p), d(tvd) = q (s - sum s q) / T with s = sign(q - p) / 2; the caller takes ce's
// target off.
FORETELL_CLONES DistillTerms distill_row(float* student, const float* teacher, std::int64_t vocab, const float* largest,
                                         const MixRow& mix) {
  const float inverse = mix.inverse;
  const RowSums sums = distill_sums(student, teacher, vocab, largest, inverse);
  const float log_ratio = std::log(sums.soft) - std::log(sums.teacher);
  float kl = 0, distance = 0, mean_sign = 0;
#pragma omp simd reduction(+ : kl, distance, mean_sign)
  for (std::int64_t i = 0; i < vocab; ++i) {
    const float s = (student[i] - largest[0]) * inverse, t = (teacher[i] - largest[1]) * inverse;
    const float q = fast_exp(s) / sums.soft, p = fast_exp(t) / sums.teacher;
    kl += p * (t - s + log_ratio);
    distance += std::fabs(p - q);
    mean_sign += q > p ? q : q < p ? -q : 0.0f;
  }
#pragma omp simd
  for (std::int64_t i = 0; i < vocab; ++i) {
    const float centred = student[i] - largest[0];
    const float q = fast_exp(centred * inverse) / sums.soft,
                p = fast_exp((teacher[i] - largest[1]) * inverse) / sums.teacher;
    const float sign = q > p ? 1.0f : q < p ? -1.0f : 0.0f;
    student[i] = mix.ce * fast_exp(centred) / sums.plain + mix.kl * (q - p) / inverse +
                 mix.tvd * 0.5f * inverse * q * (sign - mean_sign);
  }
  return {std::log(sums.plain), kl / (inverse * inverse), 0.5f * distance};
}

}  // namespace

double cross_entropy_rows(std::int64_t rows, std::int64_t vocab, float* logits, const std::int64_t* targets,
                          const float* weights) {
  std::vector<double> losses(static_cast<std::size_t>(rows));
  at::parallel_for(0, rows, grain(vocab), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      losses[static_cast<std::size_t>(row)] =
          cross_entropy_row(logits + row * vocab, vocab, targets[row], weights[row]);
    }
  });
  double sum = 0;
  for (const double loss : losses) sum += loss;
  return sum;
}

DistillTerms distill_rows(const DistillRows& shape, const DistillMix& mix, float* logits) {
  const MixRow row_mix{static_cast<float>(mix.ce), static_cast<float>(mix.kl), static_cast<float>(mix.tvd),
                       static_cast<float>(1 / mix.temperature)};
  std::vector<DistillTerms> terms(static_cast<std::size_t>(shape.rows));
  at::parallel_for(0, shape.rows, grain(shape.vocab), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      float* student = logits + row * shape.vocab;
      const float* teacher = shape.teacher + row * shape.vocab;
      const float largest[] = {largest_of(student, shape.vocab), largest_of(teacher, shape.vocab)};
      const std::int64_t target = shape.targets[row];
      const float weight = shape.weights[row], at_target = student[target] - largest[0];
      const DistillTerms of_row = distill_row(student, teacher, shape.vocab, largest, row_mix);
      student[target] -= row_mix.ce;
      for (std::int64_t i = 0; i < shape.vocab; ++i) student[i] *= weight;
      terms[static_cast<std::size_t>(row)] = {weight * (of_row.ce - at_target), weight * of_row.kl,
                                              weight * of_row.tvd};
    }
  });
  DistillTerms sum;
  for (const DistillTerms& term : terms) sum = {sum.ce + term.ce, sum.kl + term.kl, sum.tvd + term.tvd};
  return sum;
}

}  // namespace foretell::kernels::training
