/// @file
/// What a plug-in and the program that loads it must have in common, as one line of text.
///
/// Contract: FORETELL_ABI_TAG is equal in two builds only if they agree on Foretell's version, on every header that a
/// strategy may include (comments apart), on the compiler and on the standard library. It is strict on purpose:
/// building a plug-in again takes seconds, finding out why a table of functions has another order takes a day. A
/// plug-in carries it in the symbol foretell_plugin_abi, behind a mark by which it is found in the file: loading a file
/// runs its code, so the tag is read before that.
#pragma once

#include <cstddef>

#include "foretell_interfaces.h"  // generated: FORETELL_INTERFACES is "Foretell 0.1.0, interfaces 1a2b3c4d5e6f"

/// @cond
#define FORETELL_ABI_TEXT_OF(x) #x
#define FORETELL_ABI_TEXT(x) FORETELL_ABI_TEXT_OF(x)

#if defined(__clang__)
#define FORETELL_ABI_COMPILER "Clang " FORETELL_ABI_TEXT(__clang_major__)
#else
#define FORETELL_ABI_COMPILER "GCC " FORETELL_ABI_TEXT(__GNUC__)
#endif

#if defined(_LIBCPP_VERSION)
#define FORETELL_ABI_LIBRARY "libc++ " FORETELL_ABI_TEXT(_LIBCPP_VERSION)
#else
#define FORETELL_ABI_LIBRARY "libstdc++ " FORETELL_ABI_TEXT(_GLIBCXX_RELEASE)
#endif

/// @endcond

// Both change what containers look like in memory.
/// @cond
#if defined(_GLIBCXX_DEBUG)
#define FORETELL_ABI_CONTAINERS ", debug containers"
#elif defined(_GLIBCXX_USE_CXX11_ABI) && !_GLIBCXX_USE_CXX11_ABI
#define FORETELL_ABI_CONTAINERS ", strings of before C++11"
#else
#define FORETELL_ABI_CONTAINERS ""
#endif

/// @endcond

/// The tag of this build, as text.
#define FORETELL_ABI_TAG \
  FORETELL_INTERFACES ", " FORETELL_ABI_COMPILER ", " FORETELL_ABI_LIBRARY FORETELL_ABI_CONTAINERS

/// Single characters rather than a string, so that no debug information repeats it.
#define FORETELL_PLUGIN_MARK \
  { '\x01', 'f', 'o', 'r', 'e', 't', 'e', 'l', 'l', '-', 'a', 'b', 'i', '\x02' }

namespace foretell {

/// By this the tag is found in a file.
inline constexpr char kPluginMark[] = FORETELL_PLUGIN_MARK;

/// The mark and the tag, as a plug-in carries them.
struct PluginAbi {
  char mark[sizeof kPluginMark];      ///< kPluginMark
  char tag[sizeof FORETELL_ABI_TAG];  ///< ends with a zero
};

}  // namespace foretell

/// @cond
extern "C" __attribute__((visibility("default"))) const foretell::PluginAbi foretell_plugin_abi;
/// @endcond
