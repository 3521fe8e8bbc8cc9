// Translation between two toy languages. Velan puts the adjective before its noun and the verb between the nouns; Orric
// puts the adverb first, the adjective behind its noun and the verb last. Each word has one translation.
#include <fmt/format.h>

#include <array>
#include <set>

#include "framework/datasets/task_families.h"

namespace foretell::datasets::tasks {
namespace {

constexpr int kNouns = 24, kVerbs = 14, kAdjectives = 12, kAdverbs = 6;
constexpr int kWordsOfLanguage = kNouns + kVerbs + kAdjectives + kAdverbs;

struct Language {
  std::string_view name;
  std::vector<std::string> words;  // nouns, then verbs, adjectives, adverbs
};

struct Sounds {
  std::vector<std::string_view> onsets, vowels, codas;
};

// Words are spelled out of the language's own sounds, the same for ever: languages do not depend on a study's seed.
Language make_language(std::string_view name, std::uint64_t key, const Sounds& sounds) {
  PhiloxRng rng({key, 0, 0, RngPurpose::Workload});
  std::set<std::string> seen;
  Language language{name, {}};
  const auto sound = [&rng](const std::vector<std::string_view>& from) {
    return std::string(from[rng.below(from.size())]);
  };
  while (static_cast<int>(language.words.size()) < kWordsOfLanguage) {
    std::string word;
    const std::uint64_t syllables = 2 + rng.below(2);
    for (std::uint64_t s = 0; s < syllables; ++s) word += sound(sounds.onsets) + sound(sounds.vowels);
    word += sound(sounds.codas);
    if (seen.insert(word).second) language.words.push_back(word);
  }
  return language;
}

const std::array<Language, 2>& languages() {
  static const std::array<Language, 2> both = {
      make_language("Velan", 11, {{"v", "l", "m", "n", "s", "r"}, {"a", "e", "ia", "o"}, {"", "n", "l"}}),
      make_language("Orric", 12, {{"k", "g", "t", "d", "b", "kr"}, {"u", "o", "i", "a"}, {"k", "rr", "t", ""}}),
  };
  return both;
}

struct Clause {
  int subject, subject_adjective, verb, object, object_adjective, adverb;  // words by number; below 0: none
};

Clause random_clause(PhiloxRng& rng) {
  const auto maybe = [&rng](int first, int count) {
    return rng.below(2) == 0 ? -1 : first + static_cast<int>(rng.below(count));
  };
  constexpr int adjectives = kNouns + kVerbs, adverbs = adjectives + kAdjectives;
  Clause c{};
  c.subject = static_cast<int>(rng.below(kNouns));
  c.subject_adjective = maybe(adjectives, kAdjectives);
  c.verb = kNouns + static_cast<int>(rng.below(kVerbs));
  c.object = static_cast<int>(rng.below(kNouns));
  c.object_adjective = maybe(adjectives, kAdjectives);
  c.adverb = maybe(adverbs, kAdverbs);
  return c;
}

std::string write(const Clause& c, bool orric) {
  const Language& language = languages()[orric ? 1 : 0];
  const std::array<int, 6> order =
      orric ? std::array{c.adverb, c.subject, c.subject_adjective, c.object, c.object_adjective, c.verb}
            : std::array{c.subject_adjective, c.subject, c.verb, c.object_adjective, c.object, c.adverb};
  std::string text;
  for (const int word : order)
    if (word >= 0) text += (text.empty() ? "" : " ") + language.words[word];
  return text + ".";
}

}  // namespace

Turns translation(PhiloxRng& rng, const TaskSettings& settings) {
  const bool to_orric = rng.below(2) == 0;
  const auto& [velan, orric] = languages();
  const std::string from_to =
      to_orric ? fmt::format("{} into {}", velan.name, orric.name) : fmt::format("{} into {}", orric.name, velan.name);
  Turns turns;
  for (int i = 0; i < settings.questions; ++i) {
    std::string source, translated;
    const std::uint64_t clauses = 1 + rng.below(settings.clauses);
    for (std::uint64_t k = 0; k < clauses; ++k) {
      const Clause clause = random_clause(rng);
      source += (k > 0 ? " " : "") + write(clause, !to_orric);
      translated += (k > 0 ? " " : "") + write(clause, to_orric);
    }
    turns.push_back({fmt::format("Translate from {}: {}", from_to, source), translated});
  }
  return turns;
}

}  // namespace foretell::datasets::tasks
