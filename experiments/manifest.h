// What ran a cell: enough to know whether another result may be compared with it.
//
// Contract: made before the first prompt. Nothing in it names a user or a machine's address.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "experiments/cell_setup.h"

namespace foretell {

nlohmann::ordered_json make_manifest(const Study& study, const Cell& cell, const CellSetup& setup);

}  // namespace foretell
