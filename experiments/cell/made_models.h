// Models that a study describes instead of naming their folder: random weights, another program's checkpoint, a small
// model inflated.
//
// Contract: each is made once into `cache`, under a name that depends on the content of all that goes into it, and
// found there the next time. A folder appears under its name only when it is complete.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "framework/core/config_value.h"
#include "framework/core/parameters.h"

namespace foretell::cell {

// The folder that a study's model.target or model.draft stands for: a path, or a mapping with one of the types below.
std::filesystem::path model_folder(const ConfigValue& description, std::string_view key,
                                   const std::filesystem::path& study_folder, const std::filesystem::path& cache);

// {type: random | imported | inflated, ...}, for `foretell list`.
struct MadeModelDoc {
  std::string name, summary;
  std::vector<ParameterDoc> parameters;
};
std::vector<MadeModelDoc> made_model_docs();

}  // namespace foretell::cell
