#include "experiments/record_reader.h"

#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "experiments/content_hash.h"
#include "experiments/record_json.h"
#include "framework/base/error.h"

namespace foretell {
namespace {

using Json = nlohmann::ordered_json;

std::string words_of(const GenerationKey& key) {
  const auto& [conversation, turn, repeat, arm] = key;
  return fmt::format("prompt '{}', turn {}, repeat {}, {}", conversation, turn, repeat, arm == Arm::Method ? "method" : "baseline");
}

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

class RecordReader {
 public:
  explicit RecordReader(const std::filesystem::path& folder) : folder_(folder) {}

  void read_generations(std::istream& in) {
    for_each_row(
        in, (folder_ / "generations.jsonl").string(), [&](const OrderedJsonView& row, std::string_view) { add(row); },
        [&](const Error& error) { read_.damage.emplace_back(error.what()); });
  }

  void read_rounds(std::istream& in) {
    for_each_row(
        in, (folder_ / "rounds.jsonl").string(), [&](const OrderedJsonView& row, std::string_view line) { add_to_generation(row, line); },
        [&](const Error& error) { read_.damage.emplace_back(error.what()); });
  }

  void read_quality(std::istream& in) {
    for_each_row(
        in, (folder_ / "quality.jsonl").string(),
        [&](const OrderedJsonView& row, std::string_view) {
          const auto at = index_.find(key_of(row));
          if (at != index_.end()) generations_[at->second].record.quality = quality_from(row);
        },
        [&](const Error& error) { read_.damage.emplace_back(error.what()); });
  }

  RecordsRead finish() {
    Checksum all;
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
    return std::move(read_);
  }

 private:
  void add(const OrderedJsonView& row) {
    Expected next{.record = generation_from(row), .row = row.raw(), .where = row.where()};
    if (row.raw().contains("rounds") || row.raw().contains("checksum")) {
      next.rounds = row.at("rounds").integer(0, 1 << 30);
      next.checksum = row.at("checksum").string();
    }
    if (row.find("tokens")) next.tokens = static_cast<std::int64_t>(next.record.tokens.size());
    const auto [at, added] = index_.try_emplace(key_of(next.record), generations_.size());
    if (added)
      generations_.push_back(std::move(next));
    else if (generations_[at->second].row != next.row)
      problem(generations_[at->second], row.where(), "there are two different answers");
  }

  void add_to_generation(const OrderedJsonView& row, std::string_view line) {
    const auto at = index_.find(key_of(row));
    if (at == index_.end()) return;  // a kill between the two files
    Expected& generation = generations_[at->second];
    if (!generation.problem.empty()) return;
    const auto number = static_cast<std::size_t>(row.at("round").integer(0, 1 << 30));
    const std::size_t hash = std::hash<std::string_view>()(line), seen = generation.line_hashes.size();
    if (number < seen && generation.line_hashes[number] == hash) return;
    if (number < seen) return problem(generation, row.where(), fmt::format("there are two different rounds {}", number));
    if (number > seen) return problem(generation, row.where(), fmt::format("round {} is missing, the next one is {}", seen, number));
    add_round(row, generation.record);
    generation.line_hashes.push_back(hash);
    if (generation.checksum) generation.lines.append(line).append("\n");
  }

  void check(Expected& generation) {
    const auto rounds = static_cast<std::int64_t>(generation.record.rounds.size());
    std::int64_t emitted = 0;
    for (const RoundRecord& round : generation.record.rounds) emitted += round.emitted;
    if (generation.rounds && *generation.rounds != rounds)
      problem(generation, generation.where, fmt::format("{} of {} rounds are there", rounds, *generation.rounds));
    else if (generation.tokens && *generation.tokens != emitted)
      problem(generation, generation.where,
              fmt::format("the rounds that are there emit {} tokens, the answer has {}", emitted, *generation.tokens));
    else if (generation.checksum && *generation.checksum != checksum_of(generation.row, generation.lines))
      problem(generation, generation.where, "the checksum is that of another row or other rounds");
  }

  // The first one counts: what follows may be its consequence.
  static void problem(Expected& generation, const Location& where, const std::string& what) {
    if (generation.problem.empty())
      generation.problem = fmt::format("{}: {}: {}", where.to_string(), words_of(key_of(generation.record)), what);
  }

  std::filesystem::path folder_;
  std::vector<Expected> generations_;
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

}  // namespace

RecordsRead read_records(std::istream& generations, std::istream& rounds, const std::filesystem::path& folder) {
  RecordReader reader(folder);
  reader.read_generations(generations);
  reader.read_rounds(rounds);
  return reader.finish();
}

RecordsRead read_records(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder / "generations.jsonl", ignored)) return {};
  RecordReader reader(folder);
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
  return reader.finish();
}

bool is_summary_of(const OrderedJsonView& summary, const RecordsRead& read) {
  const auto records = summary.find("records");
  return !records || (records->at("generations").integer() == static_cast<std::int64_t>(read.records.size()) &&
                      records->at("checksum").string() == read.checksum);
}

std::vector<GenerationRecord> undamaged_records(const std::filesystem::path& folder) {
  RecordsRead read = read_records(folder);
  if (!read.damage.empty()) fail("{} (`foretell run` with the same study runs the prompt again)", read.damage.front());
  return std::move(read.records);
}

}  // namespace foretell
