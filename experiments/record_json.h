// Records as rows of a cell's JSON Lines files.
//
// Contract: what is written is read back equal. A row that is none of ours is an Error with file and line.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <functional>
#include <string>
#include <tuple>

#include "experiments/record.h"

namespace foretell {

using GenerationKey = std::tuple<std::string, int, int, Arm>;  // conversation, turn, repeat, pipeline
GenerationKey key_of(const GenerationRecord& record);
GenerationKey key_of(const nlohmann::ordered_json& row);

nlohmann::ordered_json generation_json(const GenerationRecord& record);
nlohmann::ordered_json round_json(const GenerationRecord& record, int round);
nlohmann::ordered_json quality_json(const GenerationRecord& record);  // of one that was measured

GenerationRecord generation_from(const nlohmann::ordered_json& row);  // without its rounds
void add_round(const nlohmann::ordered_json& row, GenerationRecord& record);
AnswerQuality quality_from(const nlohmann::ordered_json& row);

// Calls f for every complete line; false if a last line without its end was left out, as a kill in the middle of a write leaves it.
bool for_each_row(const std::filesystem::path& file, const std::function<void(const nlohmann::ordered_json&)>& f);

// One line, with its newline; bytes that are no UTF-8 are replaced.
std::string to_line(const nlohmann::ordered_json& row);

}  // namespace foretell
