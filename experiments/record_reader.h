// The records of a cell's folder, checked.
//
// Contract: what cannot be what was written is left out and told, one line with file:line and the prompt: a line that is none of ours, a generation with
// other rounds or another checksum than its row says, round numbers with a gap, rounds that emit another number of tokens than the answer has. Rows of
// versions that wrote no checksum are checked for the last two. What a kill leaves is no damage: a last line that was cut short, rounds whose generation
// is missing. A row that is there twice counts once; two different ones for the same thing are damage.
#pragma once

#include <filesystem>
#include <istream>
#include <string>
#include <vector>

#include "experiments/record.h"
#include "framework/text/json_reader.h"

namespace foretell {

struct RecordsRead {
  std::vector<GenerationRecord> records = {};
  std::vector<std::string> damage = {};
  std::string checksum = {};  // of all generations; empty where one has none
};

// Empty without a folder.
RecordsRead read_records(const std::filesystem::path& folder);
// The same from open files, which are called `folder`/generations.jsonl and so on; without quality.
RecordsRead read_records(std::istream& generations, std::istream& rounds, const std::filesystem::path& folder);

// Whether a summary was made of these records; yes where it does not say.
bool is_summary_of(const OrderedJsonView& summary, const RecordsRead& read);

// The records, or an Error with the first damage: for what computes with all of them.
std::vector<GenerationRecord> undamaged_records(const std::filesystem::path& folder);

}  // namespace foretell
