// The strategies that a command line asks for.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "framework/core/registry.h"

namespace foretell {

// All names of a registry for "all", else the one that was asked for; an Error that lists them if nobody registered it.
template <class Interface>
std::vector<std::string> names_of(const std::string& wanted) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : Registry<Interface>::instance().entries()) names.push_back(name);
  if (wanted == "all") return names;
  if (std::find(names.begin(), names.end(), wanted) == names.end())
    throw Error(Registry<Interface>::instance().unknown(wanted));
  return {wanted};
}

}  // namespace foretell
