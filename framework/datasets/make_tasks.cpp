#include "framework/datasets/tasks.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/core/rng.h"
#include "framework/core/text.h"
#include "framework/datasets/task_families.h"

namespace foretell::datasets {
namespace {

constexpr std::array<std::string_view, 6> kFamilies = {"multi_turn", "translation", "summarization",
                                                       "qa",         "arithmetic",  "retrieval"};

using Maker = tasks::Turns (*)(PhiloxRng&, const TaskSettings&);
constexpr std::array<Maker, 6> kMakers = {tasks::multi_turn, tasks::translation, tasks::summarization,
                                          tasks::qa,         tasks::arithmetic,  tasks::retrieval};

// One prompt in this many is held out.
constexpr std::uint64_t kHeldoutShare = 16;

TaskSplit split_of(const tasks::Turns& turns) {
  std::uint64_t hash = 0;
  for (const TaskTurn& turn : turns)
    for (const char c : turn.prompt) hash = mix64(hash ^ static_cast<unsigned char>(c));
  return hash % kHeldoutShare == 0 ? TaskSplit::Heldout : TaskSplit::Train;
}

}  // namespace

void TaskSettings::declare(Parameters& p) {
  p.add("seed", seed, "of the conversations", {.min = 0});
  p.add("questions", questions, "qa, retrieval and translation: turns of a conversation, at most",
        {.min = 1, .max = 20});
  p.add("people", people, "qa: persons in the passage", {.min = 1, .max = 30});
  p.add("noise_sentences", noise_sentences, "summarization: sentences of no importance", {.min = 0, .max = 1000});
  p.add("facts", facts, "retrieval: codes in the context", {.min = 1, .max = 20});
  p.add("filler_sentences", filler_sentences, "retrieval: sentences of no importance", {.min = 0, .max = 10000});
  p.add("clauses", clauses, "translation: maximum number of clauses", {.min = 1, .max = 100});
  p.add("largest_number", largest_number, "arithmetic: the largest number to be added", {.min = 11, .max = 1e6});
}

TaskSettings TaskSettings::eased(double difficulty) const {
  const auto between = [difficulty](int easiest, int full) {
    return full <= easiest ? full : easiest + static_cast<int>(std::lround(difficulty * (full - easiest)));
  };
  TaskSettings easier = *this;
  easier.people = between(2, people);
  easier.noise_sentences = between(0, noise_sentences);
  easier.facts = between(2, facts);
  easier.filler_sentences = between(0, filler_sentences);
  easier.clauses = between(1, clauses);
  easier.largest_number = between(99, largest_number);
  return easier;
}

std::span<const std::string_view> task_families() { return kFamilies; }

TaskExample make_task(std::string_view family, const TaskSettings& settings, TaskSplit split, std::uint64_t index) {
  for (std::size_t i = 0; i < kFamilies.size(); ++i) {
    if (kFamilies[i] != family) continue;
    // Drawn again until the prompt lies on the wanted side; the draw counts as the position of the key.
    for (std::uint32_t draw = 0;; ++draw) {
      const std::uint64_t request = mix64(2 * index + (split == TaskSplit::Train ? 0 : 1)) ^ mix64(i);
      PhiloxRng rng({static_cast<std::uint64_t>(settings.seed), request, draw, RngPurpose::Workload});
      tasks::Turns turns = kMakers[i](rng, settings);
      if (split_of(turns) != split) continue;
      return {std::string(family),
              fmt::format("{}-{}-{}", family, split == TaskSplit::Train ? "train" : "heldout", index),
              std::move(turns)};
    }
  }
  const std::vector<std::string> known(kFamilies.begin(), kFamilies.end());
  throw Error(unknown_name_message("task family", family, known));
}

bool exact_match(std::string_view answer, std::string_view expected) { return trimmed(answer) == trimmed(expected); }

std::string last_number(std::string_view text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::size_t end = text.size();
  while (end > 0 && !is_digit(text[end - 1])) --end;
  std::size_t begin = end;
  const auto inside = [&](std::size_t at) {
    // A comma or a point belongs to the number only between digits.
    return is_digit(text[at]) || ((text[at] == ',' || text[at] == '.') && at > 0 && is_digit(text[at - 1]));
  };
  while (begin > 0 && inside(begin - 1)) --begin;
  if (begin > 0 && begin < end && text[begin - 1] == '-') --begin;
  std::string out;
  for (const char c : text.substr(begin, end - begin))
    if (c != ',') out += c;
  return out;
}

}  // namespace foretell::datasets
