// Families without a passage: multi_turn and arithmetic.
#include <fmt/format.h>

#include "framework/datasets/task_families.h"

namespace foretell::datasets::tasks {
namespace {

// The second turn asks for what the first one said.
Turns acquaintance(PhiloxRng& rng) {
  const Lexicon& words = lexicon();
  const std::string_view name = pick(rng, words.names), town = pick(rng, words.towns);
  const auto [kind, thing] = rng.below(2) == 0
                                 ? std::pair<std::string_view, std::string_view>{"hobby", pick(rng, words.hobbies)}
                                 : std::pair<std::string_view, std::string_view>{"food", pick(rng, words.foods)};
  TaskTurn first{
      fmt::format("Hello, my name is {}. I come from {} and my favourite {} is {}.", name, town, kind, thing),
      fmt::format("Nice to meet you, {}. {} is a lovely town, and {} is a good choice of {}.", name, town, thing,
                  kind)};
  switch (rng.below(3)) {
    case 0:
      return {first,
              {"What is my name, and where do I come from?",
               fmt::format("Your name is {}, and you come from {}.", name, town)}};
    case 1:
      return {first,
              {fmt::format("Which {} do I like best?", kind), fmt::format("Your favourite {} is {}.", kind, thing)}};
    default:
      return {first,
              {"Write one sentence about me.",
               fmt::format("{} comes from {}, and the favourite {} of {} is {}.", name, town, kind, name, thing)}};
  }
}

// What to take to a place is knowledge: three goods for each place, the same for ever.
Turns packing(PhiloxRng& rng) {
  const Lexicon& words = lexicon();
  const std::size_t number = rng.below(words.places.size());
  const auto good = [&](std::size_t i) { return words.goods[(7 * number + 5 * i * (i + 1) + i) % words.goods.size()]; };
  TaskTurn first{fmt::format("I want to visit the {}. What should I take with me?", words.places[number]),
                 fmt::format("For a visit to the {} take three things: first {}, second {}, and third {}.",
                             words.places[number], good(0), good(1), good(2))};
  constexpr std::string_view ordinals[] = {"first", "second", "third"};
  const std::size_t asked = rng.below(3);
  return {first,
          {fmt::format("Tell me the {} one again.", ordinals[asked]),
           fmt::format("The {} one was {}.", ordinals[asked], good(asked))}};
}

// Column by column from the right, as on paper.
std::string add_in_steps(int a, int b) {
  std::string steps;
  int carry = 0;
  for (int x = a, y = b; x > 0 || y > 0; x /= 10, y /= 10) {
    const int sum = x % 10 + y % 10 + carry;
    steps += carry > 0 ? fmt::format("{} + {} + 1 = {}", x % 10, y % 10, sum)
                       : fmt::format("{} + {} = {}", x % 10, y % 10, sum);
    carry = sum / 10;
    steps += fmt::format(", write {}, carry {}. ", sum % 10, carry);
  }
  return steps;
}

std::string multiply_in_steps(int a, int b) {
  const int tens = a / 10 * 10, ones = a % 10;
  return fmt::format("{} * {} = {}. {} * {} = {}. {} + {} = {}. ", tens, b, tens * b, ones, b, ones * b, tens * b,
                     ones * b, a * b);
}

}  // namespace

Turns multi_turn(PhiloxRng& rng, const TaskSettings&) { return rng.below(2) == 0 ? acquaintance(rng) : packing(rng); }

Turns arithmetic(PhiloxRng& rng, const TaskSettings& settings) {
  const int limit = settings.largest_number;
  const auto number = [&rng](int low, int high) { return low + static_cast<int>(rng.below(high - low + 1)); };
  const Lexicon& words = lexicon();
  const std::string_view name = pick(rng, words.names), good = pick(rng, words.goods);
  if (rng.below(3) == 0) {
    const int a = number(11, 99), b = number(2, 9);
    const std::string question =
        rng.below(2) == 0
            ? fmt::format("Work out {} * {}.", a, b)
            : fmt::format("{} fills {} boxes with {} {} each. How many {} are there?", name, b, a, good, good);
    return {{question, multiply_in_steps(a, b) + fmt::format("The answer is {}.", a * b)}};
  }
  const int a = number(10, limit), b = number(10, limit);
  const std::string question =
      rng.below(2) == 0 ? fmt::format("Work out {} + {}.", a, b)
                        : fmt::format("{} has {} {} and gets {} more. How many {} are there?", name, a, good, b, good);
  return {{question, add_in_steps(a, b) + fmt::format("The answer is {}.", a + b)}};
}

}  // namespace foretell::datasets::tasks
