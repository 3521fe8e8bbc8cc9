// The makers behind tasks.h. Internal to framework/text.
//
// Contract: each draws a conversation from `rng` alone; the answer follows from the prompt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "framework/core/rng.h"
#include "framework/datasets/tasks.h"

namespace foretell::datasets::tasks {

using Turns = std::vector<TaskTurn>;

Turns multi_turn(PhiloxRng& rng, const TaskSettings& settings);
Turns translation(PhiloxRng& rng, const TaskSettings& settings);
Turns summarization(PhiloxRng& rng, const TaskSettings& settings);
Turns qa(PhiloxRng& rng, const TaskSettings& settings);
Turns arithmetic(PhiloxRng& rng, const TaskSettings& settings);
Turns retrieval(PhiloxRng& rng, const TaskSettings& settings);

using Words = std::span<const std::string_view>;

// Word lists, in lexicon order. All lower case but names and days.
struct Lexicon {
  Words names, towns, jobs, pets, goods, colours, things, days, hobbies, foods, places;
  Words weather;  // whole sentences without a fact in them
};
const Lexicon& lexicon();

inline std::string_view pick(PhiloxRng& rng, Words words) { return words[rng.below(words.size())]; }

// `count` different words in random order.
std::vector<std::string_view> pick_different(PhiloxRng& rng, Words words, std::size_t count);

// The items' places exchanged at random.
template <class T>
void shuffle(PhiloxRng& rng, std::vector<T>& items) {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[rng.below(i)]);
}

// "a fox", "an owl".
std::string with_article(std::string_view noun);

}  // namespace foretell::datasets::tasks
