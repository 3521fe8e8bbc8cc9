// libFuzzer target: any bytes as a plug-in's file. What is accepted names a tag that can be printed.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "framework/core/error.h"
#include "framework/plugin/plugin_file.h"
#include "tests/support/rooms.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const std::string tag = foretell::read_plugin_tag({reinterpret_cast<const char*>(data), size}, "fuzz");
    for (const char c : tag)
      if (c < ' ' || c > '~') std::abort();
  } catch (const foretell::Error& error) {
    const std::string_view message = error.what();
    if (!message.starts_with("fuzz: ") || message.find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
