#include "experiments/tables/survey_table.h"

#include <algorithm>
#include <cmath>

#include "experiments/tables/survey_table_measured.h"
#include "experiments/util/paths.h"
#include "framework/core/text.h"

namespace foretell::tables {
namespace {

struct TableDocument {
  std::string title, note;
  ConfigValue source, setting, studies, columns, rows;
  double tie = 0;

  void declare(Parameters& p) {
    p.add("title", title, "what the table shows", {.required = true});
    p.add("note", note, "what one has to know to read it");
    p.add("source", source, "who published it, and where", {.required = true});
    p.add("setting", setting, "what it was measured on", {.required = true});
    p.add("tie", tie, "two numbers that differ by no more than this share are not ordered", {.min = 0, .max = 1});
    p.add("studies", studies, "name -> the study that measures", {.required = true});
    p.add("columns", columns, "a list", {.required = true});
    p.add("rows", rows, "a list", {.required = true});
  }
};

struct StudyKeys {
  ConfigValue study;
  std::string setting;
  void declare(Parameters& p) {
    p.add("study", study, "the study's YAML file", {.required = true});
    p.add("setting", setting, "what it runs on, in words", {.required = true});
  }
};

struct ColumnKeys {
  std::string name, compare;
  std::optional<std::string> study, task, metric, because;
  std::optional<double> tolerance, relative_tolerance;
  void declare(Parameters& p) {
    p.add("name", name, "as published", {.required = true});
    p.add("study", study, "who measures it");
    p.add("task", task, "of the study's summary; overall for all");
    p.add("metric", metric, "how it is counted", {.choices = measure_names()});
    p.add("compare", compare, "what is compared",
          {.choices = {"value", "may_differ", "order", "none"}, .required = true});
    p.add("because", because, "why the value may differ, why only the order is compared, or nothing");
    p.add("tolerance", tolerance, "by how much a value may be off", {.min = 0});
    p.add("relative_tolerance", relative_tolerance, "likewise, as a share of what was published", {.min = 0});
  }
};

struct RowKeys {
  std::string name;
  ConfigValue published, measured, not_comparable, may_differ;
  void declare(Parameters& p) {
    p.add("name", name, "as published", {.required = true});
    p.add("published", published, "one a column: a number, [low, high] or null", {.required = true});
    p.add("measured", measured, "study -> the values that its sweep gives the cell");
    p.add("not_comparable", not_comparable, "why, for the row, or column -> why");
    p.add("may_differ", may_differ, "likewise: compared, and a known reason where it differs");
  }
};

const std::vector<ConfigValue>& items_of(const ConfigValue& value, const char* key, const Location& where) {
  if (!value.is_list() || value.items().empty())
    fail_at(value.is_null() ? where : value.where(), "{}: expected a list with an entry", key);
  return value.items();
}

const std::vector<ConfigValue::Entry>& entries_of(const ConfigValue& value, const std::string& key) {
  if (!value.is_map()) fail_at(value.where(), "{}: expected a mapping", key);
  return value.entries();
}

Compare compare_of(const std::string& name) {
  if (name == "value") return Compare::Value;
  if (name == "may_differ") return Compare::MayDiffer;
  return name == "order" ? Compare::Order : Compare::None;
}

bool by_value(Compare compare) { return compare == Compare::Value || compare == Compare::MayDiffer; }

double finite(const ConfigValue& value, const std::string& key) {
  const double number = read_number(value, key);
  if (!std::isfinite(number)) fail_at(value.where(), "{}: '{}' is no finite number", key, value.text());
  return number;
}

std::optional<Published> read_published(const ConfigValue& value, const std::string& key) {
  if (value.is_null()) return std::nullopt;
  if (!value.is_list()) {
    const double number = finite(value, key);
    return Published{number, number, value.text()};
  }
  if (value.items().size() != 2)
    fail_at(value.where(), "{}: a range has two numbers, [low, high]; found {}", key, value.items().size());
  const std::string& low = value.items()[0].text();
  const std::string& high = value.items()[1].text();
  const Published range{finite(value.items()[0], key), finite(value.items()[1], key),
                        fmt::format("{} to {}", low, high)};
  if (range.low > range.high)
    fail_at(value.where(), "{}: the range [{}, {}] is upside down", key, range.low, range.high);
  return range;
}

std::vector<TableStudy> read_studies(const ConfigValue& value, const std::filesystem::path& folder) {
  std::vector<TableStudy> out;
  for (const auto& entry : entries_of(value, "studies")) {
    StudyKeys keys;
    Parameters::read(entry.value, fmt::format("study '{}' of a table", entry.key), keys);
    out.push_back({entry.key, util::resolve_path(keys.study, "study", folder), keys.setting});
  }
  return out;
}

void check_study_name(const std::string& name, const std::vector<TableStudy>& studies, const Location& where) {
  std::vector<std::string> known;
  known.reserve(studies.size());
  for (const TableStudy& study : studies) known.push_back(study.name);
  if (std::find(known.begin(), known.end(), name) == known.end())
    throw Error(where, unknown_name_message("study", name, known));
}

TableColumn read_column(const ConfigValue& value, const std::vector<TableStudy>& studies) {
  ColumnKeys keys;
  Parameters::read(value, "a table's column", keys);
  TableColumn column{.name = keys.name, .where = value.where()};
  column.how = {compare_of(keys.compare), keys.because.value_or(""), {keys.tolerance, keys.relative_tolerance}};
  const Location& at = value.where();
  if (keys.study || keys.task || keys.metric || column.how.compare != Compare::None) {
    if (!keys.study || !keys.task || !keys.metric)
      fail_at(at, "column '{}': needs study, task and metric", column.name);
    check_study_name(*keys.study, studies, at);
    column.study = *keys.study;
    column.task = *keys.task;
    column.metric = *keys.metric;
  }
  const bool exact = keys.compare == "value", tolerances = keys.tolerance || keys.relative_tolerance;
  if (exact && keys.because) fail_at(at, "column '{}': what is compared by value needs no 'because'", column.name);
  if (!exact && column.how.because.empty())
    fail_at(at, "column '{}': compare: {} needs a reason in 'because'", column.name, keys.compare);
  if (keys.tolerance && keys.relative_tolerance)
    fail_at(at, "column '{}': tolerance or relative_tolerance, not both", column.name);
  if (by_value(column.how.compare) != tolerances)
    fail_at(at, "column '{}': {} tolerance or relative_tolerance", column.name,
            tolerances ? "only values have a" : "needs a");
  return column;
}

// `value`: a reason for all columns, or column -> reason.
void apply_reasons(const ConfigValue& value, const char* key, Compare compare, const std::vector<TableColumn>& columns,
                   TableRow& row) {
  const auto set = [&](std::size_t c, const ConfigValue& reason) {
    if (compare == Compare::MayDiffer && !by_value(row.how[c].compare))
      fail_at(reason.where(), "row '{}': column '{}' is not compared by value, so nothing may differ", row.name,
              columns[c].name);
    row.how[c].compare = compare;
    row.how[c].because = read_text(reason, key);
    if (row.how[c].because.empty()) fail_at(reason.where(), "{}: expected a reason in words", key);
  };
  if (value.is_null()) return;
  if (value.is_scalar()) {
    for (std::size_t c = 0; c < columns.size(); ++c) set(c, value);
    return;
  }
  for (const auto& entry : entries_of(value, key)) {
    std::vector<std::string> names;
    names.reserve(columns.size());
    for (const TableColumn& column : columns) names.push_back(column.name);
    const auto it = std::find(names.begin(), names.end(), entry.key);
    if (it == names.end()) throw Error(entry.where, unknown_name_message("column", entry.key, names));
    set(it - names.begin(), entry.value);
  }
}

TableRow read_row(const ConfigValue& value, const SurveyTable& table) {
  RowKeys keys;
  Parameters::read(value, "a table's row", keys);
  TableRow row{.name = keys.name};
  const auto& published = items_of(keys.published, "published", value.where());
  if (published.size() != table.columns.size())
    fail_at(keys.published.where(), "row '{}': {} for {}; null stands for none", row.name,
            counted(published.size(), "published number"), counted(table.columns.size(), "column"));
  for (std::size_t c = 0; c < published.size(); ++c) {
    row.published.push_back(read_published(published[c], table.columns[c].name));
    row.how.push_back(table.columns[c].how);
  }
  apply_reasons(keys.may_differ, "may_differ", Compare::MayDiffer, table.columns, row);
  apply_reasons(keys.not_comparable, "not_comparable", Compare::None, table.columns, row);
  if (!keys.measured.is_null())
    for (const auto& entry : entries_of(keys.measured, "measured")) {
      check_study_name(entry.key, table.studies, entry.where);
      entries_of(entry.value, entry.key);
      row.measured[entry.key] = entry.value;
    }
  for (std::size_t c = 0; c < row.how.size(); ++c)
    if (row.published[c] && row.how[c].compare != Compare::None && !row.measured.count(table.columns[c].study))
      fail_at(
          value.where(),
          "row '{}': column '{}' is measured by study '{}', of which no cell is named; name one, or say not_comparable",
          row.name, table.columns[c].name, table.columns[c].study);
  return row;
}

template <class Part>
void check_distinct(const std::vector<Part>& parts, const char* kind, const Location& where) {
  for (std::size_t i = 0; i < parts.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (parts[i].name == parts[j].name) fail_at(where, "two {} are named '{}'", kind, parts[i].name);
}

}  // namespace

void TableSource::declare(Parameters& p) {
  p.add("authors", authors, "who", {.required = true});
  p.add("year", year, "when", {.min = 1900, .max = 2200, .required = true});
  p.add("arxiv", arxiv, "the paper's id");
  p.add("link", link, "where it stands if not in a paper");
  p.add("where", where, "which table", {.required = true});
}

std::string TableSource::to_string() const {
  std::string out = fmt::format("{} {}", authors, year);
  if (arxiv) out += ", arXiv " + *arxiv;
  if (link) out += ", " + *link;
  return out + ", " + where;
}

void TableSetting::declare(Parameters& p) {
  p.add("model", model, "the target", {.required = true});
  p.add("hardware", hardware, "the machine, or that it is not stated", {.required = true});
  p.add("temperature", temperature, "of sampling");
  p.add("dtype", dtype, "dtype");
  p.add("counting", counting, "what a token and a speed-up are", {.required = true});
}

std::string TableSetting::to_string() const {
  return fmt::format("{}; {}; temperature {}; {}; {}", model, hardware, temperature.value_or("not stated"),
                     dtype.value_or("dtype not stated"), counting);
}

const TableStudy& SurveyTable::study(const std::string& name) const {
  const auto it = std::find_if(studies.begin(), studies.end(), [&](const TableStudy& s) { return s.name == name; });
  FORETELL_CHECK(it != studies.end(), "no study {}", name);
  return *it;
}

SurveyTable load_survey_table(const std::filesystem::path& file) {
  const ConfigValue document = load_yaml(file);
  if (!document.is_map())
    fail("{}: a table is a mapping with the keys title, source, setting, studies, columns, rows", file.string());
  TableDocument keys;
  Parameters::read(document, "a table", keys);
  SurveyTable table{.file = file, .title = keys.title, .note = keys.note, .tie = keys.tie};
  Parameters::read(keys.source, "a table's source", table.source);
  Parameters::read(keys.setting, "a table's setting", table.setting);
  table.studies = read_studies(keys.studies, file.parent_path());
  for (const ConfigValue& column : items_of(keys.columns, "columns", document.where()))
    table.columns.push_back(read_column(column, table.studies));
  check_distinct(table.columns, "columns", keys.columns.where());
  for (const ConfigValue& row : items_of(keys.rows, "rows", document.where()))
    table.rows.push_back(read_row(row, table));
  check_distinct(table.rows, "rows", keys.rows.where());
  return table;
}

std::map<std::string, std::filesystem::path> survey_tables(const std::filesystem::path& folder) {
  std::map<std::string, std::filesystem::path> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.path().extension() == ".yaml") out[entry.path().stem().string()] = entry.path();
  if (error) fail("{}: {}", folder.string(), error.message());
  return out;
}

}  // namespace foretell::tables
