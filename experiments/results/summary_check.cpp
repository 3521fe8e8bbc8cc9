#include "experiments/results/summary_check.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "experiments/results/record_json.h"
#include "experiments/results/summary.h"
#include "framework/core/error.h"
#include "framework/io/content_hash.h"

namespace foretell::results {
namespace {

using SummaryJson = nlohmann::ordered_json;

constexpr const char* kSideFiles[] = {"prediction.json", "divergence.json", "quality.jsonl"};
constexpr double kRounding = 1e-9;  // relative: another compiler may add in another order

std::string hash_of(const std::filesystem::path& file) {
  io::Checksum sum;
  sum.add(read_result_file(file));
  return sum.text();
}

// Of the files that stand beside a summary: name -> hash.
SummaryJson side_files(const std::filesystem::path& folder) {
  auto out = SummaryJson::object();
  std::error_code ignored;
  for (const char* name : kSideFiles)
    if (std::filesystem::exists(folder / name, ignored)) out[name] = hash_of(folder / name);
  return out;
}

std::string seal_of(SummaryJson summary, const std::string& cell) {
  summary.erase("checksum");
  io::Checksum sum;
  sum.add(cell + "\n");
  sum.add(to_line(summary));
  return sum.text();
}

std::string seal_damage(const io::OrderedJsonView& summary, const RecordsRead& read,
                        const std::filesystem::path& folder) {
  const std::string& file = summary.where().file;
  const auto seal = summary.find("checksum");
  if (!seal && !read.sealed) return "";
  if (!seal) return fmt::format("{}: has no checksum, but the rows beside it have theirs", file);
  if (seal->string() != seal_of(summary.raw(), read.cell))
    return fmt::format("{}: was changed after it was written, or is another cell's", file);
  const SummaryJson now = side_files(folder), &then = summary.at("files").raw();
  for (const char* name : kSideFiles)
    if (now.value(name, "") != then.value(name, ""))
      return fmt::format("{}: {}", (folder / name).string(),
                         now.contains(name) ? "was changed after summary.json was written" : "is missing");
  return "";
}

// A generation that has no row though all others like it have theirs; empty if there is none.
std::string lost_generation(const RecordsRead& read, const std::filesystem::path& folder) {
  std::set<GenerationKey> known;
  std::set<std::pair<std::string, int>> requests;
  std::set<std::pair<int, PipelineVariant>> runs;
  for (const GenerationRecord& record : read.records) {
    known.insert(key_of(record));
    requests.insert({record.conversation, record.turn});
    runs.insert({record.repeat, record.arm});
  }
  for (const auto& [conversation, turn] : requests)
    for (const auto& [repeat, arm] : runs)
      if (const GenerationKey key{conversation, turn, repeat, arm}; !known.contains(key))
        return fmt::format("{}: {}: its row is missing", (folder / "generations.jsonl").string(), words_of(key));
  return "";
}

std::string records_damage(const io::OrderedJsonView& summary, const RecordsRead& read,
                           const std::filesystem::path& folder) {
  const auto records = summary.find("records");
  if (!records) return "";
  const std::int64_t then = records->at("generations").integer(), now = static_cast<std::int64_t>(read.records.size());
  if (then > now)
    if (std::string lost = lost_generation(read, folder); !lost.empty()) return lost;
  if (then != now) return fmt::format("{}: was made of {} generations, {} are there", summary.where().file, then, now);
  return records->at("checksum").string() == read.checksum
             ? ""
             : summary.where().file + ": was not made of the records beside it";
}

bool is_near(const SummaryJson& a, const SummaryJson& b) {
  if (!a.is_number() || !b.is_number()) return a == b;
  const double x = a.get<double>(), y = b.get<double>();
  return std::abs(x - y) <= kRounding * std::max(std::abs(x), std::abs(y));
}

std::string in_words(const SummaryJson& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// What a summary says of its tasks beside what the records give. A number that it does not say is not shown. Verdicts
// are left out: what the models' costs say of the times has a part in them.
std::string number_damage(const io::OrderedJsonView& summary, const RecordsRead& read) {
  const auto written = summary.find("fold");
  const auto options = written ? fold_options_from(*written) : std::nullopt;
  if (!options) return "";
  const SummaryJson right = to_json(fold(read.records, *options), {}).flatten(),
                    said = summary.at("tasks").raw().flatten();
  for (const auto& [pointer, value] : said.items()) {
    if (value.is_null() || pointer.ends_with("/verdict") || pointer.ends_with("/verdict_words")) continue;
    const SummaryJson given = right.value(pointer, SummaryJson());
    if (!is_near(value, given))
      return fmt::format("{}: /tasks{} is {}, but the records beside it give {}", summary.where().file, pointer,
                         in_words(value), in_words(given));
  }
  return "";
}

}  // namespace

void seal_summary(SummaryJson& summary, const RecordsRead& read, const std::filesystem::path& folder) {
  if (!read.checksum.empty()) summary["records"] = {{"generations", read.records.size()}, {"checksum", read.checksum}};
  summary["files"] = side_files(folder);
  summary["checksum"] = seal_of(summary, read.cell);
}

std::string damage_of(const RecordsRead& read, const std::optional<ResultJson>& summary,
                      const std::filesystem::path& folder) {
  if (!read.damage.empty()) return read.damage.front();
  if (!summary) return "";
  // A run takes the summary away before it adds a row, so a kill leaves no such rounds beside one.
  if (!read.unanswered.empty()) return read.unanswered.front();
  std::string damage = seal_damage(summary->view(), read, folder);
  if (damage.empty()) damage = records_damage(summary->view(), read, folder);
  if (damage.empty()) damage = number_damage(summary->view(), read);
  return damage;
}

std::string damage_of(const RecordsRead& read, const std::filesystem::path& folder) {
  try {
    return damage_of(read, ResultJson::if_there(folder / "summary.json"), folder);
  } catch (const Error& error) {
    return error.what();
  }
}

std::string damage_of(const std::filesystem::path& folder) {
  try {
    return damage_of(read_records(folder), folder);
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace foretell::results
