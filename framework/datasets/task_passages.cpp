// Families whose answer stands in a passage: qa, summarization and retrieval.
#include <fmt/format.h>

#include <algorithm>

#include "framework/datasets/task_families.h"

namespace foretell::datasets::tasks {
namespace {

struct Person {
  std::string_view name, job, town, pet;
};

std::vector<Person> people(PhiloxRng& rng, int count) {
  const Lexicon& words = lexicon();
  const auto names = pick_different(rng, words.names, count), jobs = pick_different(rng, words.jobs, count);
  const auto towns = pick_different(rng, words.towns, count), pets = pick_different(rng, words.pets, count);
  std::vector<Person> all;
  for (int i = 0; i < count; ++i) all.push_back({names[i], jobs[i], towns[i], pets[i]});
  return all;
}

// What a passage says of a person, each in a sentence of its own.
std::vector<std::string> introduce(const Person& p) {
  return {fmt::format("{} lives in {}.", p.name, p.town), fmt::format("{} is {}.", p.name, with_article(p.job)),
          fmt::format("{} keeps {}.", p.name, with_article(p.pet))};
}

// The answer is one of these sentences; the question has other words.
TaskTurn ask(PhiloxRng& rng, const Person& p) {
  const std::vector<std::string> answers = introduce(p);
  switch (rng.below(6)) {
    case 0: return {fmt::format("Where does {} live?", p.name), answers[0]};
    case 1: return {fmt::format("In which town does {} live?", p.name), answers[0]};
    case 2: return {fmt::format("What is the job of {}?", p.name), answers[1]};
    case 3: return {fmt::format("What does {} do for a living?", p.name), answers[1]};
    case 4: return {fmt::format("Which animal does {} keep?", p.name), answers[2]};
    default: return {fmt::format("What animal is kept by {}?", p.name), answers[2]};
  }
}

std::string join(const std::vector<std::string>& sentences) {
  std::string text;
  for (const std::string& sentence : sentences) text += (text.empty() ? "" : " ") + sentence;
  return text;
}

// `facts` in this order with `count` sentences of no importance among them.
std::string with_filler(PhiloxRng& rng, const std::vector<std::string>& facts, int count) {
  std::vector<char> is_fact(facts.size(), 1);  // no vector<bool>: its items cannot be swapped
  is_fact.resize(facts.size() + count, 0);
  shuffle(rng, is_fact);
  std::vector<std::string> sentences;
  std::size_t next = 0;
  for (const char fact : is_fact)
    sentences.push_back(fact != 0 ? facts[next++] : std::string(pick(rng, lexicon().weather)));
  return join(sentences);
}

}  // namespace

// All persons' sentences stand in one random order. Every turn asks about another person, so a conversation has at most
// as many turns as persons.
Turns qa(PhiloxRng& rng, const TaskSettings& settings) {
  std::vector<Person> all = people(rng, settings.people);
  std::vector<std::string> sentences;
  for (const Person& p : all)
    for (std::string& sentence : introduce(p)) sentences.push_back(std::move(sentence));
  shuffle(rng, sentences);
  shuffle(rng, all);
  Turns turns;
  for (int i = 0; i < std::min(settings.questions, settings.people); ++i) {
    turns.push_back(ask(rng, all[i]));
    turns.back().prompt = (i == 0 ? join(sentences) + "\n" : "") + "Question: " + turns.back().prompt;
  }
  return turns;
}

// A gist has four parts: who, when, where, what. The passage tells them in a fixed order of its own, apart from one
// another.
Turns summarization(PhiloxRng& rng, const TaskSettings& settings) {
  const Lexicon& words = lexicon();
  const std::string_view name = pick(rng, words.names), town = pick(rng, words.towns), day = pick(rng, words.days),
                         good = pick(rng, words.goods);
  const std::uint64_t number = 2 + rng.below(8);
  const bool bought = rng.below(2) == 0;
  std::vector<std::string> facts{
      fmt::format("{} set out on {}.", name, day), fmt::format("The way led to {}.", town),
      bought ? fmt::format("At the market there were {} to buy, and {} of them were paid for.", good, number)
             : fmt::format("At the market a cart was unloaded, and {} {} were sold.", number, good)};
  const std::string gist =
      fmt::format("On {} {} {} {} {} in {}.", day, name, bought ? "bought" : "sold", number, good, town);
  return {{"Summarise in one sentence: " + with_filler(rng, facts, settings.noise_sentences), gist}};
}

Turns retrieval(PhiloxRng& rng, const TaskSettings& settings) {
  std::vector<std::string> facts, whats;
  std::vector<std::uint64_t> codes;
  for (const std::string_view thing : pick_different(rng, lexicon().things, settings.facts)) {
    whats.push_back(fmt::format("the {} {}", pick(rng, lexicon().colours), thing));
    codes.push_back(100 + rng.below(900));
    facts.push_back(fmt::format("Remember that the code of {} is {}.", whats.back(), codes.back()));
  }
  const std::string context = with_filler(rng, facts, settings.filler_sentences) + "\n";
  std::vector<std::size_t> order(whats.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  shuffle(rng, order);
  order.resize(std::min<std::size_t>(order.size(), settings.questions));
  Turns turns;
  for (const std::size_t asked : order)
    turns.push_back({fmt::format("{}Question: What is the code of {}?", turns.empty() ? context : "", whats[asked]),
                     fmt::format("The code of {} is {}.", whats[asked], codes[asked])});
  return turns;
}

}  // namespace foretell::datasets::tasks
