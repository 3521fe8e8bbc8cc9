// What the fuzzers of a study's inputs do with their bytes; the test that replays the seeds does the same.
//
// Contract: any bytes either read or throw Error, of one line. A study that was read has at least one cell, each with a
// name and a hash of its own; recorded distributions have mass 1; rows of another program fold to a summary that is
// JSON.
#pragma once

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/analysis/draft_dump.h"
#include "experiments/report/spec_bench_import.h"
#include "experiments/results/distribution_record.h"
#include "experiments/results/summary.h"
#include "experiments/study/study.h"
#include "experiments/tables/roofline_table.h"
#include "framework/core/error.h"
#include "framework/datasets/prompts.h"
#include "tests/support/rooms.h"

namespace foretell::fuzz {

// Calls body(); an Error is one line.
template <class Body>
void reads_or_fails(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    const std::string_view said = error.what();
    FORETELL_CHECK(!said.empty() && said.find('\n') == std::string_view::npos, "'{}'", said);
  }
}

inline void draft_dump(std::string_view input) {
  reads_or_fails([&] {
    const auto dump = analysis::parse_draft_dump(std::as_bytes(std::span(input)), "fuzz");
    FORETELL_CHECK(dump.text.size() >= 2, "{} tokens", dump.text.size());
    for (const auto* numbers : {&dump.taps, &dump.mask, &dump.logits})
      if (*numbers)
        FORETELL_CHECK(static_cast<std::int64_t>((*numbers)->values.size()) == (*numbers)->rows * (*numbers)->columns,
                       "{} numbers", (*numbers)->values.size());
  });
}

inline void distribution_record(std::string_view input) {
  reads_or_fails([&] {
    const DistributionRecord record =
        DistributionRecord::parse(std::as_bytes(std::span(input.data(), input.size())), "input");
    FORETELL_CHECK(record.header.answers == static_cast<int>(record.answers.size()), "{} answers",
                   record.answers.size());
    for (const AnswerDistributions& answer : record.answers)
      for (int i = 0; i < answer.distributions->size(); ++i)
        FORETELL_CHECK((*answer.distributions)[i].token >= 0 && (*answer.distributions)[i].token < record.header.vocab,
                       "answer token {}", i);
    FORETELL_CHECK(std::isfinite(record.rest().mean()), "rest {}", record.rest().mean());
  });
}

// A folder of this process, with a study that others can include.
class StudyFolder {
 public:
  StudyFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "foretell-fuzz-XXXXXX").string();
    FORETELL_CHECK(::mkdtemp(name.data()) != nullptr, "{}", name);
    path_ = name;
    std::ofstream(path_ / "base.yaml")
        << "model: {target: m}\nworkload: {type: random_ids}\nsweep: {run.seed: [1, 2]}\n";
  }
  ~StudyFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Up to a zero byte the study; behind it overrides, one a line.
inline void study(std::string_view input) {
  static const StudyFolder folder;
  const std::filesystem::path file = folder.path() / "study.yaml";
  const std::size_t end = std::min(input.find('\0'), input.size());
  std::ofstream(file, std::ios::binary) << input.substr(0, end);
  std::vector<std::string> overrides;
  for (std::string_view rest = input.substr(std::min(end + 1, input.size())); !rest.empty();) {
    const std::size_t line = std::min(rest.find('\n'), rest.size());
    overrides.emplace_back(rest.substr(0, line));
    rest.remove_prefix(std::min(line + 1, rest.size()));
  }
  try {
    const Study read = load_study(file, overrides);
    FORETELL_CHECK(!read.cells.empty() && !read.name.empty(), "a study '{}' of {} cells", read.name, read.cells.size());
    std::set<std::string> hashes;
    for (const Cell& cell : read.cells)
      FORETELL_CHECK(!cell.name.empty() && hashes.insert(cell.hash).second, "cell '{}' of hash {}", cell.name,
                     cell.hash);
  } catch (const Error& error) {
    // Where the mistake is: a line of the study or of what it includes, or the option.
    const std::string_view said = error.what();
    const bool placed = error.has_exact_place() || said.starts_with("--set") || said.starts_with(file.string());
    FORETELL_CHECK(placed, "no place in '{}'", said);
  }
}

// A published table of operators: every figure that was read is one that a number near it reproduces.
inline void roofline_table(std::string_view input) {
  try {
    const RooflineTable table = parse_roofline_table(parse_yaml(std::string(input), "fuzz"), "fuzz");
    FORETELL_CHECK(!table.rows.empty(), "{}", table.title);
    for (const RooflineTableRow& row : table.rows)
      for (const PrintedNumber& number : row.printed)
        FORETELL_CHECK(number.unit > 0 && number.reproduced_by(number.value), "'{}'", number.text);
  } catch (const Error&) {  // of a scalar over several lines it has them; the command line shows it as one
  }
}

// Answer rows; behind a zero byte the questions.
inline void spec_bench(std::string_view input) {
  reads_or_fails([&] {
    const std::size_t end = std::min(input.find('\0'), input.size());
    std::vector<Prompt> questions;
    const bool has_questions = end < input.size();
    if (has_questions) questions = parse_prompts(input.substr(end + 1), "questions");
    const auto rows = parse_answers(input.substr(0, end), "answers");
    const auto records =
        spec_bench_records(rows, "answers", has_questions ? &questions : nullptr, PipelineVariant::Method);
    const std::string json =
        to_json(fold(records, {.timed = true}), {}).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    FORETELL_CHECK(nlohmann::json::accept(json), "{}", json);
  });
}

}  // namespace foretell::fuzz
