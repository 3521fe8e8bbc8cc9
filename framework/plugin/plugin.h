// Strategies in shared libraries: written, built and loaded without building Foretell again.
//
// Contract: load_plugin() adds what the file registers to the registries, where it is found like what is built in. An
// Error of one line names the file and what is wrong with it: it cannot be read, is no shared library, has no ABI tag
// or another one, cannot be loaded (a symbol is missing), registers nothing, or registers a name that is taken. None of
// its code runs before its tag was compared. After an Error some of its strategies may be registered: report it and
// end. A file that is loaded already is not loaded again. Plug-ins stay loaded until the program ends, because the
// registries hold functions of theirs. Call it from one thread, before strategies are looked up.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace foretell::plugin {

struct LoadedPlugin {
  std::filesystem::path file;           // absolute
  std::vector<std::string> strategies;  // "drafter 'bigram'"
};

const LoadedPlugin& load_plugin(const std::filesystem::path& file);

// What a plug-in for this program has to be built for; framework/api/abi_tag.h.
std::string_view plugin_abi_tag();

}  // namespace foretell::plugin
