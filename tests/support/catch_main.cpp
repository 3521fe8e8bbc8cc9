// main() of every test executable. Catch2 2 needs its implementation compiled in one file; Catch2 3 is a library with a
// main of its own.
#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_MAIN
#include "tests/support/catch.h"
#endif
