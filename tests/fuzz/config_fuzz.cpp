// Study files: whatever the bytes, reading ends in a value or in an Error, and a value that was written parses back to itself.
#include <cstdlib>
#include <string>

#include "framework/base/config_value.h"
#include "framework/base/parameters.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace foretell;
  if (size > 4096) return 0;
  try {
    const std::string text(reinterpret_cast<const char*>(data), size);
    ConfigValue value = parse_yaml(text, "fuzz");
    if (value.is_map() && !same_value(parse_yaml(value.to_flow(), "again"), value)) std::abort();
    apply_override(value, text.substr(0, text.find('\n')));
  } catch (const Error&) {
  }
  return 0;
}
