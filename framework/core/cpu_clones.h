// FORETELL_CLONES: the function is compiled once for each of these instruction sets; the loader picks the best that the
// machine has.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define FORETELL_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FORETELL_CLONES
#endif
