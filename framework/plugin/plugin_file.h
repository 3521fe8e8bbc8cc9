// What a plug-in's file says about itself, read without running any of its code.
//
// Contract: for bytes from anywhere: no crash, no more work than a few passes over them. An Error that starts with
// `name` unless they are a whole shared library of this machine's word size with an ABI tag (abi_tag.h), which is one
// line of printable text.
#pragma once

#include <string>
#include <string_view>

namespace foretell::plugin {

std::string read_plugin_tag(std::string_view bytes, const std::string& name);

}  // namespace foretell::plugin
