// Records as rows of a cell's JSON Lines files.
//
// Contract: what is written is read back equal. A row that is none of ours is an Error with file, line and key. The row
// of a generation says of which cell it is and how many rounds belong to it, and has a checksum over itself and their
// lines.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <functional>
#include <istream>
#include <string>
#include <string_view>
#include <tuple>

#include "experiments/results/record.h"
#include "framework/io/json_reader.h"

namespace foretell::results {

using GenerationKey = std::tuple<std::string, int, int, PipelineVariant>;  // conversation, turn, repeat, pipeline
GenerationKey key_of(const GenerationRecord& record);
GenerationKey key_of(const io::OrderedJsonView& row);
std::string words_of(const GenerationKey& key);  // "prompt '7', turn 0, repeat 1, method"

nlohmann::ordered_json generation_json(const GenerationRecord& record);
nlohmann::ordered_json round_json(const GenerationRecord& record, int round);
nlohmann::ordered_json quality_json(const GenerationRecord& record);  // of one that was measured

// What imported rows do not know is null, and 0 in the record.
GenerationRecord generation_from(const io::OrderedJsonView& row);  // without its rounds
void add_round(const io::OrderedJsonView& row, GenerationRecord& record);
AnswerQuality quality_from(const io::OrderedJsonView& row);

// The line of a generation: its row with its cell's hash, the number of its rounds, whose lines are `round_lines`, and
// the checksum.
std::string sealed_line(nlohmann::ordered_json row, std::string_view cell, std::size_t rounds,
                        std::string_view round_lines);
// The lines of all its rounds, and the checksum that a generation with these lines has.
std::string round_lines(const GenerationRecord& record);
std::string checksum_of(nlohmann::ordered_json row, std::string_view round_lines);

// Calls f with every complete line, parsed and as it stands; false if a last line without its end was left out, as a
// kill in the middle of a write leaves it. With `on_error` a line that cannot be used is told there, and the next one
// is read.
using RowReader = std::function<void(const io::OrderedJsonView& row, std::string_view line)>;
using RowError = std::function<void(const Error& error)>;
bool for_each_row(const std::filesystem::path& file, const RowReader& f, const RowError& on_error = {});
bool for_each_row(std::istream& in, const std::string& name, const RowReader& f, const RowError& on_error = {});

// One line, with its newline; bytes that are no UTF-8 are replaced.
std::string to_line(const nlohmann::ordered_json& row);

}  // namespace foretell::results
