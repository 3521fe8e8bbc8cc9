// The seeds of the fuzzers, so that every build runs them at least once and a finding stays fixed without clang.
//
// Contract: a fuzzer without seeds is a failure of the test.
#pragma once

#include <functional>
#include <string>

namespace foretell::testing {

// Calls `visit` with the bytes of each seed of tests/fuzz/seeds/FUZZER; what fails in it is told with the seed's name.
void for_each_seed(const std::string& fuzzer, const std::function<void(const std::string& bytes)>& visit);

}  // namespace foretell::testing
