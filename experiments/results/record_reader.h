// The records of a cell's folder, checked.
//
// Contract: what cannot be what was written is left out and told, one line with file:line and the prompt: a line that
// is none of ours, a row that is there twice or that is another cell's, a generation with other rounds or another
// checksum than its row says, round numbers with a gap, rounds that emit another number of tokens than the answer has,
// rounds whose generation is missing before others that have theirs. Rows of versions that wrote no checksum are
// checked for what they have. What a kill leaves is no damage but told apart: a last line that was cut short, the last
// rounds without their generations.
#pragma once

#include <filesystem>
#include <istream>
#include <string>
#include <vector>

#include "experiments/results/record.h"
#include "framework/io/json_reader.h"

namespace foretell::results {

struct RecordsRead {
  std::vector<GenerationRecord> records = {};
  std::vector<std::string> damage = {};  // first what names its prompt
  std::vector<std::string> unanswered =
      {};                     // the generations that a kill has left without their rows: only rounds of them are there
  std::string checksum = {};  // of all generations; empty where one has none
  std::string cell = {};      // the hash of the cell whose folder it is; empty where that is not known
  bool sealed = false;        // of kResultsFormat: a summary beside them has to be sealed
};

// Whose rows they have to be.
struct RecordOwner {
  std::string cell = {};  // a hash; empty: not known
  bool is_named = false;  // rows that name no cell are damage
};

// Empty without a folder. The owner is the cell that gave the folder its name; elsewhere (a copy with a name of its
// own) the one of its manifest.
RecordsRead read_records(const std::filesystem::path& folder);
// The same from open files, which are called `folder`/generations.jsonl and so on; without quality.
RecordsRead read_records(std::istream& generations, std::istream& rounds, const std::filesystem::path& folder,
                         const RecordOwner& owner = {});

// The records, or an Error with the first damage: for what computes with all of them.
std::vector<GenerationRecord> undamaged_records(const std::filesystem::path& folder);

}  // namespace foretell::results
