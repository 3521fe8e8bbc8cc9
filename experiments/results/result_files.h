// The files of a results folder, which may come from anywhere and are read as hostile.
//
// Contract: a name that stands in a file is checked here before it becomes a path: a cell's folder is named by its
// hash, 16 hexadecimal digits, and a study's by letters, digits, '-', '_' and '.'. What is written or removed stays
// below the folder that the user has named: a symbolic link that leads out of it is refused. ResultJson is one JSON
// file; every access through its view checks the type, so that a wrong one is an Error of one line with the file and
// the key.
#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/util/result_names.h"
#include "framework/io/json_reader.h"

namespace foretell::results {

// What a manifest calls its `format`. Since 2 the rows of generations name their cell and summary.json is sealed
// (summary_check.h); without one the folder is older, and its rows and its summary may do without.
inline constexpr int kResultsFormat = 2;

// An Error if `path`, which is `below` or something in it, leads out of `below` by a symbolic link. What is not there
// leads nowhere.
void refuse_link_out(const std::filesystem::path& path, const std::filesystem::path& below);

// A file that must be an ordinary one: no pipe that waits for ever, no folder. `file` is read to its end.
std::string read_result_file(const std::filesystem::path& file);

class ResultJson {
 public:
  explicit ResultJson(const std::filesystem::path& file);  // an object; an Error otherwise
  ResultJson(std::string_view bytes, std::string name);
  static std::optional<ResultJson> if_there(const std::filesystem::path& file);

  io::OrderedJsonView view() const { return {json_, "", where_}; }
  const nlohmann::ordered_json& json() const { return json_; }
  const Location& where() const { return where_; }

 private:
  Location where_;
  nlohmann::ordered_json json_;
};

// study.json: the cells of a study in their order.
struct IndexedCell {
  std::string name = {}, hash = {};
  bool is_baseline = false;
  nlohmann::ordered_json settings = {};  // an object
};

struct StudyIndex {
  std::string study = {}, description = {}, file = {};
  std::vector<IndexedCell> cells = {};  // no two with one hash
  nlohmann::ordered_json json = {};     // all of it
};

StudyIndex read_study_index(const std::filesystem::path& folder);
StudyIndex study_index_of(const ResultJson& file);

}  // namespace foretell::results
