// FORETELL_CLONES: the function is compiled once for each of these instruction sets; the loader picks the best that the
// machine has. Not under sanitizers: the loader would ask instrumented code before it can run.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define FORETELL_HAS_CLONES
#define FORETELL_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FORETELL_CLONES
#endif
