// Whether cells may be shown beside one another: what their manifests say of weights, inputs, plug-ins, the program and
// the machine.
//
// Contract: cells whose studies name the same model must have run on the same files of it, and so it is with an input
// and with recorded distributions of one path. What differs there is no comparison but an accident, and an Error that
// names the two folders and the field. So are revisions of Foretell and of a plug-in where one program is asked for;
// elsewhere they are notes. Machines may differ, as speed-ups are taken within a cell: a note. Hashes of an older
// version say nothing about newer ones, which is a note as well.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "experiments/results/result_files.h"
#include "framework/core/config_value.h"

namespace foretell::results {

struct CellOrigin {
  std::filesystem::path folder;
  std::map<std::string, std::string> same = {};  // what must be equal where two cells have it: field -> value
  std::map<std::string, std::string> program = {}, machine = {};
};

// What a cell's manifest and its resolved study say; empty without a manifest.
CellOrigin read_origin(const std::filesystem::path& cell);
CellOrigin origin_of(const std::filesystem::path& cell, const ResultJson& manifest,
                     const std::optional<ConfigValue>& resolved_study);

// The notes.
std::vector<std::string> check_origins(std::span<const CellOrigin> cells, bool one_program);

}  // namespace foretell::results
