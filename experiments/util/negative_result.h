// A command that did its work and whose answer is no.
//
// Contract: thrown after everything has been printed; the program ends with exit code 1 and prints nothing more. A
// user's mistake is an Error, code 2.
#pragma once

#include <exception>

namespace foretell::util {

class NegativeResult : public std::exception {
 public:
  const char* what() const noexcept override { return "the answer is no"; }
};

}  // namespace foretell::util
