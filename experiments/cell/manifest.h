// What ran a cell: enough to know whether another result may be compared with it.
//
// Contract: made before the first prompt. Nothing in it names a user or a machine's address.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <memory>
#include <optional>
#include <string>

#include "experiments/cell/cell_setup.h"
#include "experiments/results/result_files.h"

namespace foretell::cell {

nlohmann::ordered_json make_manifest(const study::Study& study, const study::Cell& cell, const CellSetup& setup);

// Why a cell that `old` describes must not be gone on with as `fresh` describes it: other weights, inputs or plug-ins,
// another processor, other threads. None if nothing that changes numbers has changed. Another revision of Foretell is
// no reason: it is in `passes`.
std::optional<std::string> cannot_go_on(const results::ResultJson& old, const nlohmann::ordered_json& fresh);
// `old` with what is special about this process added to its list of passes.
nlohmann::ordered_json continued(const results::ResultJson& old, const nlohmann::ordered_json& fresh);
// The cost of n rows that a manifest holds; null if it holds none.
std::shared_ptr<const cost::RowCosts> recorded_costs(const results::ResultJson& manifest);
// Its hashes are an older Foretell's, which did not see every change of a file.
bool has_old_hashes(const results::ResultJson& manifest);

}  // namespace foretell::cell
