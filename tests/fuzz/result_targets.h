// What the fuzzers of a results folder do with their bytes; the test that replays the seeds does the same.
//
// Contract: a zero byte stands between two files. Records that are accepted are consistent, and read the same when they
// have been written again. A study that is accepted can be written in every format, and no text of it acts on a
// terminal.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include "experiments/report/report_files.h"
#include "experiments/report/study_folder.h"
#include "experiments/results/provenance.h"
#include "experiments/results/record_json.h"
#include "experiments/results/record_reader.h"
#include "experiments/results/summary_check.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "tests/support/rooms.h"

namespace foretell::fuzz {

template <std::size_t N>
std::array<std::string_view, N> files_of(std::string_view bytes) {
  std::array<std::string_view, N> files;
  std::size_t at = 0;
  for (std::string_view& file : files) {
    const std::size_t end = std::min(bytes.find('\0', at), bytes.size());
    file = bytes.substr(at, end - at);
    at = std::min(end + 1, bytes.size());
  }
  return files;
}

inline RecordsRead read_both(std::string_view generations, std::string_view rounds) {
  std::istringstream first{std::string(generations)}, second{std::string(rounds)};
  return read_records(first, second, "fuzz");
}

inline void check_records(const RecordsRead& records) {
  for (const std::string& damage : records.damage) FORETELL_CHECK(!damage.empty(), "damage without words");
  std::string generations, rounds;
  for (const GenerationRecord& record : records.records) {
    const std::string lines = round_lines(record);
    generations += sealed_line(generation_json(record), "", record.rounds.size(), lines);
    rounds += lines;
  }
  const RecordsRead again = read_both(generations, rounds);
  // Imported rows do not know their tokens, which the written ones then say are none.
  std::size_t known = 0;
  for (const GenerationRecord& record : records.records) {
    std::size_t emitted = 0;
    for (const RoundRecord& round : record.rounds) emitted += static_cast<std::size_t>(round.emitted);
    known += emitted == record.tokens.size();
  }
  FORETELL_CHECK(again.records.size() == known, "{} of {} records are read again", again.records.size(), known);
}

inline void check_study(const std::array<std::string_view, 3>& files) {
  const StudyIndex index = study_index_of(ResultJson(files[0], "study.json"));
  const ResultJson manifest(files[1], "manifest.json");
  const CellFiles cell{.manifest = manifest, .summary = ResultJson(files[2], "summary.json")};
  FORETELL_CHECK(damage_of({.damage = {"damaged"}}, cell.summary, "fuzz") == "damaged",
                 "damage of records is not told first");
  damage_of({}, cell.summary, "fuzz");
  foretell::StudyFolder study{
      .folder = "fuzz", .study = index.study, .description = index.description, .file = index.file};
  for (const IndexedCell& indexed : index.cells) {
    FORETELL_CHECK(is_cell_hash(indexed.hash), "a cell's folder is named {}", indexed.hash);
    study.cells.push_back(report_cell(indexed, study.cells.empty() ? std::optional(cell) : std::nullopt));
  }
  const CellOrigin origin = origin_of("a", manifest, std::nullopt);
  check_origins(std::array{origin, origin}, true);
  for (const std::string& text :
       {report_text(study), report_markdown(study), report_csv(study), exported_json(report_json(study))})
    FORETELL_CHECK(printable_lines(text) == text, "{} bytes of a report would act on a terminal", text.size());
}

// generations.jsonl, rounds.jsonl
inline void records(std::string_view input) {
  const auto [generations, rounds] = files_of<2>(input);
  check_records(read_both(generations, rounds));
}

// study.json, manifest.json, summary.json
inline void study_folder(std::string_view input) {
  try {
    check_study(files_of<3>(input));
  } catch (const Error&) {
  }
}

}  // namespace foretell::fuzz
