#include "experiments/report/database.h"

#include "framework/core/error.h"
#include "framework/core/printable.h"

#ifdef FORETELL_SQLITE

#include <fmt/format.h>
#include <sqlite3.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/analysis/measures.h"
#include "experiments/results/record_json.h"

namespace foretell::report {
namespace {

using RowJson = nlohmann::ordered_json;

struct Close {
  void operator()(sqlite3* database) const { sqlite3_close(database); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

class Database {
 public:
  explicit Database(const std::filesystem::path& file) : file_(file) {
    sqlite3* opened = nullptr;
    const int code = sqlite3_open(file.c_str(), &opened);
    database_.reset(opened);
    check(code);
  }

  void run(const std::string& sql) { check(sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr)); }

  void check(int code) const {
    if (code != SQLITE_OK && code != SQLITE_DONE)
      fail("{}: the database cannot be written: {}", file_.string(),
           database_ ? sqlite3_errmsg(database_.get()) : "not enough memory");
  }

  sqlite3* get() const { return database_.get(); }

 private:
  std::filesystem::path file_;
  std::unique_ptr<sqlite3, Close> database_;
};

// A table that is made and filled. Names of columns are ours; values only ever go through bound parameters.
class DatabaseTable {
 public:
  DatabaseTable(Database& database, const std::string& name, const std::vector<std::string>& columns)
      : database_(database) {
    std::string declared, marks;
    for (const std::string& column : columns) {
      declared += (declared.empty() ? "" : ", ") + column;
      marks += marks.empty() ? "?" : ", ?";
    }
    database.run(fmt::format("CREATE TABLE {} ({})", name, declared));
    sqlite3_stmt* prepared = nullptr;
    database.check(sqlite3_prepare_v2(database.get(), fmt::format("INSERT INTO {} VALUES ({})", name, marks).c_str(),
                                      -1, &prepared, nullptr));
    insert_.reset(prepared);
  }

  void add(const std::vector<RowJson>& values) {
    for (int i = 0; i < static_cast<int>(values.size()); ++i) bind(i + 1, values[i]);
    database_.check(sqlite3_step(insert_.get()));
    database_.check(sqlite3_reset(insert_.get()));
  }

 private:
  void bind(int at, const RowJson& value) {
    if (value.is_null()) return database_.check(sqlite3_bind_null(insert_.get(), at));
    if (value.is_boolean()) return database_.check(sqlite3_bind_int64(insert_.get(), at, value.get<bool>()));
    if (value.is_number_integer())
      return database_.check(sqlite3_bind_int64(insert_.get(), at, value.get<std::int64_t>()));
    if (value.is_number()) return database_.check(sqlite3_bind_double(insert_.get(), at, value.get<double>()));
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    database_.check(sqlite3_bind_text64(insert_.get(), at, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  }

  Database& database_;
  std::unique_ptr<sqlite3_stmt, Close> insert_;
};

std::vector<RowJson> numbers_row(std::vector<RowJson> row, const std::vector<std::optional<double>>& values) {
  for (const auto& value : values) row.push_back(value ? RowJson(*value) : RowJson(nullptr));
  return row;
}

std::vector<std::string> with_measures(std::vector<std::string> columns, std::span<const analysis::Measure> measures) {
  for (const analysis::Measure& measure : measures) columns.push_back(fmt::format("\"{}\" REAL", measure.name));
  return columns;
}

// The rows of a JSON Lines file; `keys` are its columns.
void add_rows(const std::filesystem::path& file, const std::string& hash, const std::vector<std::string>& keys,
              DatabaseTable& table) {
  if (!std::filesystem::exists(file)) return;
  results::for_each_row(file, [&](const io::OrderedJsonView& view, std::string_view) {
    const RowJson& json = view.raw();
    std::vector<RowJson> row = {hash};
    for (const std::string& key : keys) row.push_back(json.contains(key) ? json.at(key) : RowJson(nullptr));
    table.add(row);
  });
}

std::vector<std::string> with_cell(const std::vector<std::string>& keys) {
  std::vector<std::string> columns = {"cell TEXT"};
  for (const std::string& key : keys) columns.push_back(fmt::format("\"{}\"", key));
  return columns;
}

void fill(Database& database, const StudyFolder& study) {
  static const std::vector<std::string> generation_keys = {
      "conversation", "turn",       "repeat",  "pipeline", "category", "task",  "prompt_tokens",
      "finish",       "prefill_ns", "wall_ns", "tokens",   "text",     "exact", "joules"};
  static const std::vector<std::string> round_keys = {
      "conversation", "turn",    "repeat", "pipeline", "round",    "drafted",   "scored",    "depth",
      "accepted",     "emitted", "next",   "draft_ns", "score_ns", "verify_ns", "commit_ns", "end_ns"};
  DatabaseTable studies(database, "study", {"name TEXT", "description TEXT", "file TEXT"});
  DatabaseTable cells(database, "cells",
                      with_measures({"hash TEXT PRIMARY KEY", "position INTEGER", "name TEXT", "state TEXT",
                                     "is_baseline INTEGER", "timed INTEGER", "started TEXT", "reason TEXT",
                                     "energy_source TEXT", "given_acceptance TEXT", "imported_from TEXT"},
                                    analysis::cell_measures()));
  DatabaseTable settings(database, "settings", {"cell TEXT", "path TEXT", "value TEXT"});
  DatabaseTable tasks(
      database, "tasks",
      with_measures({"cell TEXT", "task TEXT", "verdict TEXT", "verdict_words TEXT"}, analysis::task_measures()));
  DatabaseTable generations(database, "generations", with_cell(generation_keys));
  DatabaseTable rounds(database, "rounds", with_cell(round_keys));
  studies.add({printable_lines(study.study), printable_lines(study.description), printable_lines(study.file)});
  for (int i = 0; i < static_cast<int>(study.cells.size()); ++i) {
    const ReportCell& cell = study.cells[i];
    cells.add(numbers_row({cell.hash, i, printable_lines(cell.name), name_of(cell.state), cell.is_baseline, cell.timed,
                           cell.started, cell.reason, cell.energy_source, cell.given, cell.imported},
                          cell.values));
    for (const auto& [path, value] : cell.settings)
      settings.add({cell.hash, printable_lines(path), printable_lines(value)});
    for (const TaskNumbers& task : cell.tasks)
      tasks.add(numbers_row({cell.hash, printable_lines(task.task), task.verdict, task.verdict_words}, task.values));
    if (!cell.damage.empty()) continue;  // no row of a damaged cell is shown as evidence
    add_rows(study.folder / cell.hash / "generations.jsonl", cell.hash, generation_keys, generations);
    add_rows(study.folder / cell.hash / "rounds.jsonl", cell.hash, round_keys, rounds);
  }
}

}  // namespace

void write_database(const StudyFolder& study, const std::filesystem::path& file) {
  const std::filesystem::path half = file.string() + ".part";
  std::error_code error;
  std::filesystem::remove(half, error);
  {
    Database database(half);
    // A half-made file is thrown away, so nothing has to survive a crash.
    database.run("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN");
    fill(database, study);
    database.run(
        "CREATE INDEX generations_of_cell ON generations (cell, conversation, turn);"
        "CREATE INDEX rounds_of_cell ON rounds (cell, conversation, turn); COMMIT");
  }
  std::filesystem::rename(half, file, error);
  if (error) fail("{}: cannot be written: {}", file.string(), error.message());
}

}  // namespace foretell::report

#else

namespace foretell::report {

void write_database(const StudyFolder&, const std::filesystem::path& file) {
  fail("{}: this Foretell was built without SQLite; install libsqlite3-dev and build again", file.string());
}

}  // namespace foretell::report

#endif
