// Lists of numbers on the command line: "1 2 3", "1,2,3", "1, 2, 3".
//
// Contract: anything that is not such a list is an Error that names the option and what was found, an entry that is
// empty ("1,,2", "1,") too.
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "framework/core/types.h"

namespace foretell::util {

// Token ids, not negative. Separated by blanks or commas; may be empty.
Tokens parse_ids(std::string_view text, std::string_view option);
// Counts from 1 to `most`, at least one of them.
std::vector<int> parse_positive_list(std::string_view text, std::string_view option,
                                     int most = std::numeric_limits<int>::max());
// Probabilities, at least one of them.
std::vector<double> parse_probabilities(std::string_view text, std::string_view option);

// The nodes of a draft tree by depth, the first one 1 (the last committed token): "1,4,8".
std::vector<int> parse_tree(std::string_view text, std::string_view option);

}  // namespace foretell::util
