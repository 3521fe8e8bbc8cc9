// libFuzzer target: config.json and generation_config.json of any bytes. What is accepted must be written and read back
// as the same value.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "framework/core/error.h"
#include "framework/formats/model_config.h"
#include "tests/support/rooms.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    foretell::ModelConfig config = foretell::parse_model_config(text, "fuzz");
    const std::string written = foretell::model_config_json(config);
    if (foretell::parse_model_config(written, "written") != config) std::abort();
    foretell::apply_generation_config(text, "fuzz", config);
  } catch (const foretell::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
