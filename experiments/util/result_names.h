/// Which names studies and cells may have: they become folders.
#pragma once

#include <string>
#include <string_view>

namespace foretell::util {

bool is_cell_hash(std::string_view name);
// Why a study cannot be called so: what is wrong with the name; empty if nothing is.
std::string study_name_problem(std::string_view name);

}  // namespace foretell::util
