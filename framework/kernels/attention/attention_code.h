// The functions of attention's inner loops, compiled for each path and processor.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "framework/kernels/attention/attention_job.h"

namespace foretell::kernels::attention {

struct AttentionCode {
  void (*run)(const AttentionTask&, AttentionRoom&);
  // The weights of a key head's queries, [rows, columns], to be added to what is there.
  void (*weigh)(const QueryTile&, float*, AttentionRoom&);
  // The parts of a tile's segments become its result.
  void (*join)(const QueryTile&, const float*, std::int64_t value_wide, AttentionRoom&);
  std::int64_t (*wide_values)(std::int64_t);  // the width of a part's values
};

AttentionCode attention_code(at::ScalarType type);

}  // namespace foretell::kernels::attention
