#include "framework/datasets/prompts.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "framework/io/file_bytes.h"
#include "framework/io/json_reader.h"
#include "framework/unicode/unicode.h"

namespace foretell::datasets {
namespace {

std::vector<std::string> read_texts(const io::JsonView& json) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < json.size(); ++i) texts.push_back(json.at(i).string());
  return texts;
}

std::vector<int> read_counts(const io::JsonView& json, std::string_view key) {
  std::vector<int> counts;
  const auto list = json.find(key);
  for (std::size_t i = 0; list && i < list->size(); ++i) {
    const std::int64_t count = list->at(i).integer();
    if (count < 0 || count > std::numeric_limits<int>::max())
      list->at(i).refuse(fmt::format("{} is not a count", count));
    counts.push_back(static_cast<int>(count));
  }
  return counts;
}

std::vector<double> read_numbers(const io::JsonView& json, std::string_view key) {
  std::vector<double> numbers;
  const auto list = json.find(key);
  for (std::size_t i = 0; list && i < list->size(); ++i) numbers.push_back(list->at(i).number());
  return numbers;
}

std::vector<std::string> read_turns(const io::JsonView& json) {
  if (const auto turns = json.find("turns")) {
    if (turns->size() == 0) turns->refuse("expected at least one turn");
    return read_texts(*turns);
  }
  for (const char* key : {"prompt", "question", "text"})
    if (const auto text = json.find(key)) return {text->string()};
  json.refuse("no prompt; expected a list \"turns\" or a text \"prompt\", \"question\" or \"text\"");
}

Prompt read_prompt(const io::JsonView& json) {
  Prompt prompt{std::to_string(json.where().line.value_or(0)), json.string_or("category", ""), read_turns(json), {}};
  for (const char* key : {"task_id", "id", "question_id"})
    if (const auto id = json.find(key)) prompt.id = id->id();
  // A list of answers, or anything else, is not the one right text.
  if (const auto answer = json.find("answer"); answer && answer->raw().is_string()) prompt.answer = answer->string();
  return prompt;
}

AnswerRow read_answer(const io::JsonView& json) {
  const io::JsonView choice = json.at("choices").at(std::size_t{0});
  AnswerRow row;
  row.question_id = json.at("question_id").id();
  row.category = json.string_or("category", "");
  row.answer_id = json.string_or("answer_id", "");
  row.model_id = json.string_or("model_id", "");
  row.turns = read_texts(choice.at("turns"));
  row.decoding_steps = read_counts(choice, "decoding_steps");
  row.new_tokens = read_counts(choice, "new_tokens");
  row.wall_time = read_numbers(choice, "wall_time");
  row.accept_lengths = read_counts(choice, "accept_lengths");
  if (const auto stamp = json.find("tstamp")) row.tstamp = stamp->number();
  return row;
}

// Ids that were numbers are written as numbers again.
nlohmann::ordered_json id_value(const std::string& id) {
  const bool number = !id.empty() && id.size() <= 18 &&
                      std::all_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
                      (id == "0" || id[0] != '0');
  if (number) return std::stoll(id);
  return unicode::lossy(id);
}

}  // namespace

std::vector<Prompt> parse_prompts(std::string_view bytes, const std::string& name) {
  std::vector<Prompt> prompts;
  io::for_each_json_line(bytes, name, [&](const io::JsonView& json) { prompts.push_back(read_prompt(json)); });
  if (prompts.empty()) fail("{}: holds no prompt", name);
  return prompts;
}

std::vector<AnswerRow> parse_answers(std::string_view bytes, const std::string& name) {
  std::vector<AnswerRow> rows;
  io::for_each_json_line(bytes, name, [&](const io::JsonView& json) { rows.push_back(read_answer(json)); });
  if (rows.empty()) fail("{}: holds no answer", name);
  return rows;
}

std::vector<Prompt> read_prompts(const std::filesystem::path& file) {
  return parse_prompts(io::read_file_bytes(file), file.string());
}

std::vector<AnswerRow> read_answers(const std::filesystem::path& file) {
  return parse_answers(io::read_file_bytes(file), file.string());
}

std::string to_json_line(const AnswerRow& row) {
  nlohmann::ordered_json turns = nlohmann::ordered_json::array();
  for (const std::string& turn : row.turns) turns.push_back(unicode::lossy(turn));
  nlohmann::ordered_json choice = {{"index", 0},
                                   {"turns", turns},
                                   {"decoding_steps", row.decoding_steps},
                                   {"new_tokens", row.new_tokens},
                                   {"wall_time", row.wall_time},
                                   {"accept_lengths", row.accept_lengths}};
  nlohmann::ordered_json document = {
      {"question_id", id_value(row.question_id)},           {"category", unicode::lossy(row.category)},
      {"answer_id", unicode::lossy(row.answer_id)},         {"model_id", unicode::lossy(row.model_id)},
      {"choices", nlohmann::ordered_json::array({choice})}, {"tstamp", row.tstamp}};
  return document.dump() + "\n";
}

std::string spec_bench_task(std::string_view category) {
  static constexpr std::array<std::string_view, 8> mt_bench = {"writing", "roleplay",   "reasoning", "math",
                                                               "coding",  "extraction", "stem",      "humanities"};
  return std::find(mt_bench.begin(), mt_bench.end(), category) != mt_bench.end() ? "mt_bench" : std::string(category);
}

}  // namespace foretell::datasets
