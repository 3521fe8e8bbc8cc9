// One cell's results on disk.
//
// Contract: the folder <results>/<study>/<cell hash>/ holds
//   config.resolved.yaml   the cell's sections as they were written, overrides included   } before the first prompt
//   manifest.json          what ran it: revision, compiler, LibTorch, CPU, threads, hashes of the weights }
//   rounds.jsonl           one object a round            } appended after each prompt and flushed, so that a killed run loses at most the prompt
//   generations.jsonl      one object a generation       } that it was on
//   summary.json           the fold of the two, written whole or not at all
//   quality.jsonl          where quality is measured: one object a generation of the first repeat
//   prediction.json        where the study has an overlap section: what the models' overlap lets expect
//   answers.jsonl          with a spec_bench workload: the method's answers in FastChat's format
// Whatever cannot be written is an Error with the file's name. Opening a store starts the cell afresh.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "experiments/record.h"
#include "experiments/study.h"
#include "framework/text/prompts.h"

namespace foretell {

class AppendFile {
 public:
  explicit AppendFile(std::filesystem::path path);  // empties it
  void append(const nlohmann::ordered_json& row);
  void append_line(const std::string& line);  // with its newline
  void flush();

 private:
  void check() const;

  std::filesystem::path path_;
  std::ofstream out_;
};

class Store {
 public:
  Store(std::filesystem::path folder, const Cell& cell, const nlohmann::ordered_json& manifest);

  const std::filesystem::path& folder() const { return folder_; }
  void append(std::span<const GenerationRecord> records);
  void append_answer(const AnswerRow& row);
  void write_quality(std::span<const GenerationRecord> records);  // of those that have one
  void write_summary(const nlohmann::ordered_json& summary);
  void write_prediction(const nlohmann::ordered_json& prediction);

 private:
  void write_whole(const char* name, const nlohmann::ordered_json& content);

  std::filesystem::path folder_;
  AppendFile rounds_, generations_;
  std::optional<AppendFile> answers_;
};

// The records of a cell's folder. A last line that was cut short by a kill is left out, and so are rounds whose generation is missing.
std::vector<GenerationRecord> read_records(const std::filesystem::path& folder);

// "results/<study>/<hash>".
std::filesystem::path cell_folder(const std::filesystem::path& results, const Study& study, const Cell& cell);

}  // namespace foretell
