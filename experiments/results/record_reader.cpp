#include "experiments/results/record_reader.h"

#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "experiments/results/record_json.h"
#include "experiments/results/result_files.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/content_hash.h"

namespace foretell::results {
namespace {

using Json = nlohmann::ordered_json;

// A generation while its rounds are read.
struct Expected {
  GenerationRecord record;
  Json row;
  Location where;
  std::optional<std::int64_t> rounds = {};  // how many its row says; nothing in rows of before
  std::optional<std::string> checksum = {};
  std::optional<std::int64_t> tokens = {};  // nothing in imported rows
  std::string lines = {};
  std::vector<std::size_t> line_hashes = {};
  std::string problem = {};  // empty: none so far
};

// Rounds whose generation has no row.
struct Unanswered {
  Location where;  // of the first one
  std::string words;
  bool is_last = true;  // no round after them has its generation: a kill between the two files leaves that
};

class RecordReader {
 public:
  explicit RecordReader(const std::filesystem::path& folder, RecordOwner owner = {})
      : folder_(folder), owner_(std::move(owner)) {
    read_.cell = owner_.cell;
    read_.sealed = owner_.is_named;
  }

  void read_generations(std::istream& in) {
    for_each_row(
        in, (folder_ / "generations.jsonl").string(),
        [&](const io::OrderedJsonView& row, std::string_view) { add(row); },
        [&](const Error& error) { unreadable_.emplace_back(error.what()); });
    all_answers_read_ = unreadable_.empty();
  }

  void read_rounds(std::istream& in) {
    for_each_row(
        in, (folder_ / "rounds.jsonl").string(),
        [&](const io::OrderedJsonView& row, std::string_view line) { add_to_generation(row, line); },
        [&](const Error& error) { unreadable_.emplace_back(error.what()); });
  }

  void read_quality(std::istream& in) {
    for_each_row(
        in, (folder_ / "quality.jsonl").string(),
        [&](const io::OrderedJsonView& row, std::string_view) {
          const auto at = index_.find(key_of(row));
          if (at != index_.end()) generations_[at->second].record.quality = quality_from(row);
        },
        [&](const Error& error) { unreadable_.emplace_back(error.what()); });
  }

  RecordsRead finish() {
    io::Checksum all;
    bool sealed = !generations_.empty();
    for (const auto& [key, place] : index_) {
      sealed = sealed && generations_[place].checksum;
      if (sealed) all.add(words_of(key) + *generations_[place].checksum);
    }
    if (sealed) read_.checksum = all.text();
    for (Expected& generation : generations_) {
      check(generation);
      if (generation.problem.empty())
        read_.records.push_back(std::move(generation.record));
      else
        read_.damage.push_back(std::move(generation.problem));
    }
    for (const Unanswered& lost : unanswered_) {
      const std::string line =
          fmt::format("{}: {}: its row in generations.jsonl is missing", lost.where.to_string(), lost.words);
      (lost.is_last && all_answers_read_ ? read_.unanswered : read_.damage).push_back(line);
    }
    std::move(unreadable_.begin(), unreadable_.end(), std::back_inserter(read_.damage));
    return std::move(read_);
  }

 private:
  void add(const io::OrderedJsonView& row) {
    Expected next{.record = generation_from(row), .row = row.raw(), .where = row.where()};
    if (row.raw().contains("rounds") || row.raw().contains("checksum")) {
      next.rounds = row.at("rounds").integer(0, 1 << 30);
      next.checksum = row.at("checksum").string();
    }
    if (row.find("tokens")) next.tokens = static_cast<std::int64_t>(next.record.tokens.size());
    check_owner(row, next);
    const auto [at, added] = index_.try_emplace(key_of(next.record), generations_.size());
    if (added) return generations_.push_back(std::move(next));
    Expected& first = generations_[at->second];
    problem(first, row.where(),
            first.row == next.row
                ? fmt::format("the answer is there twice, first in line {}", first.where.line.value_or(0))
                : "there are two different answers");
  }

  void check_owner(const io::OrderedJsonView& row, Expected& generation) {
    const auto cell = row.find("cell");
    read_.sealed |= cell.has_value();
    if (!cell && owner_.is_named)
      problem(generation, row.where(), "names no cell, but all rows of this folder have to");
    else if (cell && !generation.checksum)
      problem(generation, row.where(), "names its cell and has no checksum");
    else if (cell && !owner_.cell.empty() && cell->string() != owner_.cell)
      problem(generation, row.where(), fmt::format("is of the cell {}, the folder of {}", cell->string(), owner_.cell));
  }

  void add_to_generation(const io::OrderedJsonView& row, std::string_view line) {
    const GenerationKey key = key_of(row);
    const auto at = index_.find(key);
    if (at == index_.end()) {
      if (lost_.insert(key).second) unanswered_.push_back({row.where(), words_of(key)});
      return;
    }
    for (; told_ < unanswered_.size(); ++told_) unanswered_[told_].is_last = false;
    Expected& generation = generations_[at->second];
    if (!generation.problem.empty()) return;
    const auto number = static_cast<std::size_t>(row.at("round").integer(0, 1 << 30));
    const std::size_t hash = std::hash<std::string_view>()(line), seen = generation.line_hashes.size();
    if (number < seen)
      return problem(generation, row.where(),
                     generation.line_hashes[number] == hash ? fmt::format("round {} is there twice", number)
                                                            : fmt::format("there are two different rounds {}", number));
    if (number > seen)
      return problem(generation, row.where(), fmt::format("round {} is missing, the next one is {}", seen, number));
    add_round(row, generation.record);
    generation.line_hashes.push_back(hash);
    if (generation.checksum) generation.lines.append(line).append("\n");
  }

  void check(Expected& generation) {
    const auto rounds = static_cast<std::int64_t>(generation.record.rounds.size());
    std::int64_t emitted = 0;
    for (const RoundRecord& round : generation.record.rounds) emitted += round.emitted;
    if (generation.rounds && *generation.rounds != rounds)
      problem(generation, generation.where,
              fmt::format("{} recorded, {} found", counted(*generation.rounds, "round"), rounds));
    else if (generation.tokens && *generation.tokens != emitted)
      problem(generation, generation.where,
              fmt::format("the rounds that are there emit {}, the answer has {}", counted(emitted, "token"),
                          *generation.tokens));
    else if (generation.checksum && *generation.checksum != checksum_of(generation.row, generation.lines))
      problem(generation, generation.where, "the checksum is that of another row or other rounds");
  }

  // The first one counts: what follows may be its consequence.
  static void problem(Expected& generation, const Location& where, const std::string& what) {
    if (generation.problem.empty())
      generation.problem = fmt::format("{}: {}: {}", where.to_string(), words_of(key_of(generation.record)), what);
  }

  std::filesystem::path folder_;
  RecordOwner owner_;
  std::vector<Expected> generations_;
  std::vector<std::string> unreadable_;  // lines without a prompt
  bool all_answers_read_ = true;
  std::vector<Unanswered> unanswered_;
  std::set<GenerationKey> lost_;
  std::size_t told_ = 0;  // of the unanswered ones: how many are known not to be the last
  std::map<GenerationKey, std::size_t> index_;
  RecordsRead read_;
};

std::ifstream opened(const std::filesystem::path& file) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored)) fail("{}: is missing, or no ordinary file", file.string());
  std::ifstream in(file, std::ios::binary);
  if (!in) fail("{}: cannot be opened", file.string());
  return in;
}

// The hash that a folder has as its name; empty if that is none.
std::string hash_of_name(const std::filesystem::path& folder) {
  std::error_code failed;
  std::filesystem::path whole = std::filesystem::absolute(folder, failed).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();  // results/STUDY/HASH/
  const std::string name = whole.filename().string();
  return util::is_cell_hash(name) ? name : "";
}

// Tells what the manifest contradicts, and that of a manifest that cannot be read.
RecordOwner owner_of(const std::filesystem::path& folder, std::vector<std::string>& damage) {
  RecordOwner owner{.cell = hash_of_name(folder)};
  try {
    const auto manifest = ResultJson::if_there(folder / "manifest.json");
    if (!manifest) return owner;
    owner.is_named = manifest->view().integer_or("format", 1) >= kResultsFormat;
    const std::string named = manifest->view().string_or("cell_hash", "");
    if (owner.cell.empty()) owner.cell = named;
    if (!named.empty() && named != owner.cell)
      damage.push_back(
          fmt::format("{}: is of the cell {}, its folder of {}", manifest->where().file, named, owner.cell));
  } catch (const Error& error) {
    damage.emplace_back(error.what());
  }
  return owner;
}

}  // namespace

RecordsRead read_records(std::istream& generations, std::istream& rounds, const std::filesystem::path& folder,
                         const RecordOwner& owner) {
  RecordReader reader(folder, owner);
  reader.read_generations(generations);
  reader.read_rounds(rounds);
  return reader.finish();
}

RecordsRead read_records(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder, ignored)) return {};
  std::vector<std::string> of_manifest;
  RecordReader reader(folder, owner_of(folder, of_manifest));
  if (!std::filesystem::exists(folder / "generations.jsonl", ignored)) {
    RecordsRead none = reader.finish();
    none.damage = of_manifest;
    return none;
  }
  std::ifstream generations = opened(folder / "generations.jsonl");
  reader.read_generations(generations);
  if (std::filesystem::exists(folder / "rounds.jsonl", ignored)) {
    std::ifstream rounds = opened(folder / "rounds.jsonl");
    reader.read_rounds(rounds);
  }
  if (std::filesystem::exists(folder / "quality.jsonl", ignored)) {
    std::ifstream quality = opened(folder / "quality.jsonl");
    reader.read_quality(quality);
  }
  RecordsRead read = reader.finish();
  read.damage.insert(read.damage.begin(), of_manifest.begin(), of_manifest.end());
  return read;
}

std::vector<GenerationRecord> undamaged_records(const std::filesystem::path& folder) {
  RecordsRead read = read_records(folder);
  if (!read.damage.empty()) fail("{} (`foretell run` with the same study runs the prompt again)", read.damage.front());
  return std::move(read.records);
}

}  // namespace foretell::results
