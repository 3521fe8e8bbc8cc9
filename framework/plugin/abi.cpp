// Compiled into libforetell and, by find_package(Foretell), into every plug-in: says which Foretell either was built
// for.
#include "framework/api/abi_tag.h"

const foretell::PluginAbi foretell_plugin_abi{FORETELL_PLUGIN_MARK, FORETELL_ABI_TAG};
