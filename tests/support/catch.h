// The only place that names Catch2's header: Debian 12 has version 2, newer systems have version 3.
//
// LibTorch's logging has a macro CHECK too; where both are seen, tests mean Catch2's. So its header comes first,
// wherever there is one.
#pragma once

#include "tests/support/rooms.h"

#if __has_include(<c10/util/Logging.h>)
#include <c10/util/Logging.h>
#undef CHECK
#endif

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
