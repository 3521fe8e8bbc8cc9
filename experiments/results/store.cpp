#include "experiments/results/store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "experiments/results/record_json.h"
#include "experiments/results/result_files.h"
#include "experiments/results/summary_check.h"
#include "framework/core/error.h"
#include "framework/io/atomic_file.h"

namespace foretell::results {
namespace {

constexpr const char* kRounds = "rounds.jsonl";
constexpr const char* kGenerations = "generations.jsonl";
constexpr const char* kQuality = "quality.jsonl";

// The whole file at once: what a kill has cut short goes, and what is kept was never half there.
template <class Lines>
void rewrite(const std::filesystem::path& file, std::span<const GenerationRecord> records, const Lines& lines) {
  io::AtomicFile out(file);
  for (const GenerationRecord& record : records) out.write(lines(record));
  out.commit();
}

}  // namespace

AppendFile::AppendFile(std::filesystem::path path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (descriptor_ < 0) refuse();
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

AppendFile::~AppendFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void AppendFile::append(std::string_view lines) {
  while (!lines.empty()) {
    const ssize_t written = ::write(descriptor_, lines.data(), lines.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) refuse();
    lines.remove_prefix(static_cast<std::size_t>(written));
  }
}

void AppendFile::sync() {
  // A file that is no file of a disk (EINVAL) has nothing to wait for.
  if (::fdatasync(descriptor_) != 0 && errno != EINVAL) refuse();
}

void AppendFile::refuse() const {
  fail(
      "{}: cannot be written (no right, or the disk is full): {}; what was finished is kept, and the same command goes "
      "on from there",
      path_.string(), std::strerror(errno));
}

std::optional<ResultJson> Store::manifest() const { return ResultJson::if_there(folder_ / "manifest.json"); }

std::optional<ResultJson> Store::summary() const { return ResultJson::if_there(folder_ / "summary.json"); }

bool Store::finished() const {
  const auto written = summary();
  return written && written->view().boolean_or("complete", false);
}

std::optional<ResultJson> Store::prediction() const { return ResultJson::if_there(folder_ / "prediction.json"); }

std::optional<ResultJson> Store::divergence() const { return ResultJson::if_there(folder_ / "divergence.json"); }

void Store::begin(const study::Cell& cell, const nlohmann::ordered_json& manifest,
                  std::span<const GenerationRecord> kept) {
  refuse_link_out(folder_, folder_.parent_path());
  io::make_folder(folder_);
  for (const char* stale :
       {"summary.json", "prediction.json", "divergence.json", "answers.jsonl", "probs.bin", "laws.bin", kQuality})
    std::filesystem::remove(folder_ / stale);
  cell_ = cell.hash;
  io::write_file(folder_ / "config.resolved.yaml", cell.document.to_yaml());
  rewrite(folder_ / kGenerations, kept,
          [&](const GenerationRecord& record) { return generation_line(record, round_lines(record)); });
  rewrite(folder_ / kRounds, kept, round_lines);
  write_whole("manifest.json", manifest);  // after the rows: it never vouches for those that somebody else left
  rounds_.emplace(folder_ / kRounds);
  generations_.emplace(folder_ / kGenerations);
}

std::string Store::generation_line(const GenerationRecord& record, std::string_view round_lines) const {
  return sealed_line(generation_json(record), cell_, record.rounds.size(), round_lines);
}

void Store::append(std::span<const GenerationRecord> records) {
  FORETELL_CHECK(rounds_ && generations_, "{} was not begun", folder_.string());
  std::string rounds, generations;
  for (const GenerationRecord& record : records) {
    const std::string lines = round_lines(record);
    rounds += lines;
    generations += generation_line(record, lines);
  }
  rounds_->append(rounds);
  rounds_->sync();  // first, so that a generation on disk always has its rounds
  generations_->append(generations);
  generations_->sync();
}

void Store::write_answers(std::span<const datasets::AnswerRow> rows) {
  std::string lines;
  for (const datasets::AnswerRow& row : rows) lines += datasets::to_json_line(row);
  io::write_file(folder_ / "answers.jsonl", lines);
}

void Store::write_quality(std::span<const GenerationRecord> records) {
  std::string rows;
  for (const GenerationRecord& record : records)
    if (record.quality) rows += to_line(quality_json(record));
  io::write_file(folder_ / kQuality, rows);
}

void Store::write_summary(nlohmann::ordered_json summary) {
  // Of what is on disk: a summary never tells of records that cannot be read back.
  const RecordsRead read = read_records(folder_);
  if (!read.damage.empty())
    fail("{} (what was written a moment ago cannot be read back; is the disk sound?)", read.damage.front());
  seal_summary(summary, read, folder_);
  write_whole("summary.json", summary);
}

void Store::write_prediction(const nlohmann::ordered_json& prediction) { write_whole("prediction.json", prediction); }

void Store::write_divergence(const nlohmann::ordered_json& divergence) { write_whole("divergence.json", divergence); }

void Store::write_whole(const char* name, const nlohmann::ordered_json& content) {
  io::write_file(folder_ / name, content.dump(2) + "\n");
}

std::filesystem::path cell_folder(const std::filesystem::path& results, const study::Study& study,
                                  const study::Cell& cell) {
  return results / study.folder / cell.hash;
}

}  // namespace foretell::results
