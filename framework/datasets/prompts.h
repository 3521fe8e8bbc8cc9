// Prompt sets and recorded answers: one JSON object per line.
//
// Contract: a line that cannot be used is an Error with file:line. Blank lines, CRLF and a missing last newline are
// fine. Order is the file's.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace foretell::datasets {

struct Prompt {
  std::string id;                  // question_id, id or task_id; the line's number where there is none
  std::string category;            // "" where there is none
  std::vector<std::string> turns;  // never empty
  std::string answer = {};         // to the last turn, where the file has a text "answer"
};

// Spec-Bench's and MT-bench's question.jsonl ("turns"), or a text under "prompt", "question" or "text".
std::vector<Prompt> read_prompts(const std::filesystem::path& file);
std::vector<Prompt> parse_prompts(std::string_view bytes, const std::string& name);

// A model's recorded answers to one question, in FastChat's layout as Spec-Bench extends it. The lists are per turn but
// accept_lengths, which has one entry for each round of all turns: the tokens that it emitted. A list that a file does
// not have is empty.
struct AnswerRow {
  std::string question_id;
  std::string category;
  std::string answer_id;
  std::string model_id;
  std::vector<std::string> turns;
  std::vector<int> decoding_steps;
  std::vector<int> new_tokens;
  std::vector<double> wall_time;  // seconds
  std::vector<int> accept_lengths;
  double tstamp = 0;  // seconds since 1970
};

std::vector<AnswerRow> read_answers(const std::filesystem::path& file);
std::vector<AnswerRow> parse_answers(std::string_view bytes, const std::string& name);
std::string to_json_line(const AnswerRow& row);  // with its newline

// The task under which Spec-Bench reports a category: the eight of MT-bench are mt_bench, the others keep their names.
std::string spec_bench_task(std::string_view category);

}  // namespace foretell::datasets
