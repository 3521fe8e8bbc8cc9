// What the fuzzer of device files does with its bytes; the test that replays the seeds does the same.
//
// Contract: any bytes either read or throw Error (of a scalar over several lines it has them; the command line shows it
// as one). A device that was read has a roofline for every
// precision that it has a peak for, and reads the same when it has been written again.
#pragma once

#include <cmath>
#include <string>
#include <string_view>

#include "framework/core/error.h"
#include "framework/cost/operators/forward_operators.h"
#include "tests/support/rooms.h"

namespace foretell::fuzz {

inline void check_roofline(const Hardware& hardware, int bits) {
  static const formats::ModelConfig model = formats::parse_model_config(
      R"({"model_type": "llama", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
          "num_attention_heads": 4, "num_key_value_heads": 2})",
      "model");
  ForwardOperators forward;
  try {
    forward = forward_operators(model, hardware, {bits, bits, bits}, {.context = 9, .fused = true});
  } catch (const Error&) {
    return;  // no peak for so many bits
  }
  FORETELL_CHECK(std::isfinite(forward.seconds) && forward.seconds > 0, "{} s", forward.seconds);
  for (const OperatorCost& cost : forward.operators)
    FORETELL_CHECK(cost.seconds > 0 && std::isfinite(cost.performance), "{}: {} s", cost.work.name, cost.seconds);
}

inline void hardware(std::string_view input) {
  try {
    const Hardware read = parse_hardware(parse_yaml(std::string(input), "fuzz"));
    const std::string written = hardware_yaml(read);
    FORETELL_CHECK(hardware_yaml(parse_hardware(parse_yaml(written, "written"))) == written, "{}", written);
    for (const int bits : {32, 16, 8, 4}) check_roofline(read, bits);
  } catch (const Error&) {
  }
}

}  // namespace foretell::fuzz
