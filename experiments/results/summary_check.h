// Whether what stands in a cell's folder beside its rows is what a run wrote there: the summary, and the files that it
// vouches for.
//
// Contract: a sealed summary has a checksum over its cell's hash and all of itself, which holds the hashes of the files
// that were made with it and the checksum of the records. Beyond that its numbers are computed again from the records,
// where it says how they were folded: a number that the records do not give is damage whatever its checksum. Summaries
// of older folders have neither and are checked for what they have; one without a seal beside rows that are sealed is
// damage. Needs no model.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <optional>
#include <string>

#include "experiments/results/record_reader.h"
#include "experiments/results/result_files.h"

namespace foretell::results {

// Adds what the summary vouches for: `read`, which are all records of the folder, its side files as they are now, and
// the checksum.
void seal_summary(nlohmann::ordered_json& summary, const RecordsRead& read, const std::filesystem::path& folder);

// The first thing that is wrong with the records or the summary of a folder, one line with the file; empty if there is
// none. Without a summary only the records count. A wrong type is an Error.
std::string damage_of(const RecordsRead& read, const std::optional<ResultJson>& summary,
                      const std::filesystem::path& folder);
// The same with everything that has to be read for it; what cannot be read is damage too.
std::string damage_of(const RecordsRead& read, const std::filesystem::path& folder);
std::string damage_of(const std::filesystem::path& folder);

}  // namespace foretell::results
