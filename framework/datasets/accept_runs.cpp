#include "framework/datasets/accept_runs.h"

#include <algorithm>

#include "framework/core/text.h"
#include "framework/io/file_bytes.h"
#include "framework/io/json_reader.h"

namespace foretell::datasets {
namespace {

constexpr std::size_t kLongestRun = std::size_t{1} << 20;     // [tokens]
constexpr std::size_t kMostPositions = std::size_t{1} << 24;  // of all runs and arms
constexpr std::int64_t kMostTokenId = 1 << 24;
constexpr std::string_view kArmPrefix = "acc_";

std::vector<int> integers_of(const io::JsonView& list, std::int64_t low, std::int64_t high) {
  if (list.size() > kLongestRun) list.refuse(fmt::format("{} entries, expected at most {}", list.size(), kLongestRun));
  std::vector<int> out;
  out.reserve(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) out.push_back(static_cast<int>(list.at(i).integer(low, high)));
  return out;
}

AcceptRun accept_run(const io::JsonView& json) {
  AcceptRun run{.id = json.at("id").id(),
                .prompt = integers_of(json.at("prompt_token_ids"), 0, kMostTokenId),
                .generated = integers_of(json.at("generated_token_ids"), 0, kMostTokenId)};
  if (run.prompt.empty()) json.at("prompt_token_ids").refuse("expected at least one token");
  bool any = false;
  for (const auto& [key, value] : json.entries()) {
    if (!key.starts_with(kArmPrefix) || key.size() == kArmPrefix.size()) continue;
    any = true;
    std::vector<int> lengths = integers_of(value.at("acc_len"), 1, kMostAcceptLength);
    if (!lengths.empty()) run.arms.emplace(key.substr(kArmPrefix.size()), std::move(lengths));
  }
  if (!any) json.refuse("no accept lengths; expected acc_NAME: {acc_len: [...]}");
  return run;
}

std::size_t positions_of(const AcceptRun& run) {
  std::size_t positions = run.prompt.size() + run.generated.size();
  for (const auto& [name, lengths] : run.arms) positions += lengths.size();
  return positions;
}

std::vector<std::filesystem::path> files_of(const std::filesystem::path& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.path().extension() == ".jsonl") files.push_back(entry.path());
  if (error) fail("{}: {}", folder.string(), error.message());
  std::sort(files.begin(), files.end());
  if (files.empty()) fail("{}: holds no .jsonl file", folder.string());
  return files;
}

}  // namespace

std::vector<AcceptRun> parse_accept_runs(std::string_view bytes, const std::string& name) {
  std::vector<AcceptRun> runs;
  std::size_t positions = 0;
  io::for_each_json_line(bytes, name, [&](const io::JsonView& json) {
    runs.push_back(accept_run(json));
    positions += positions_of(runs.back());
    if (positions > kMostPositions) json.refuse(fmt::format("more than {} positions in all", kMostPositions));
  });
  if (runs.empty()) fail("{}: holds no run", name);
  return runs;
}

std::vector<AcceptRun> read_accept_runs(const std::filesystem::path& file_or_folder) {
  std::error_code error;
  if (!std::filesystem::is_directory(file_or_folder, error)) {
    if (file_or_folder.extension() == ".xz")
      fail("{}: is compressed; expected a .jsonl file (`xz -dk FILE` makes it)", file_or_folder.string());
    return parse_accept_runs(io::read_file_bytes(file_or_folder), file_or_folder.string());
  }
  std::vector<AcceptRun> runs;
  for (const std::filesystem::path& file : files_of(file_or_folder)) {
    std::vector<AcceptRun> of_file = parse_accept_runs(io::read_file_bytes(file), file.string());
    std::move(of_file.begin(), of_file.end(), std::back_inserter(runs));
  }
  return runs;
}

}  // namespace foretell::datasets
