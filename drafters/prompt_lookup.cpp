// Copies what followed an earlier occurrence of the newest tokens (Saxena 2023, "Prompt Lookup Decoding").
//
// For n from the longest down to the shortest suffix: look the last n tokens up in prompt and output; the first n whose
// match has a continuation gives the draft. Two rules are in use and both are here: the original takes the leftmost
// match and only if the whole continuation of num_speculative_tokens fits; later implementations take what is there of
// a shorter one, or the most recent match. Each n has an index from n-gram to position that grows with the text, so a
// round costs O(1) lookups rather than a scan.
#include <algorithm>
#include <unordered_map>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"

namespace foretell::drafters {
namespace {

struct PromptLookupOptions {
  int longest = 3;
  int shortest = 1;
  int num_speculative_tokens = 10;
  std::string match = "first";
  bool whole = true;
  void declare(Parameters& p) {
    p.add("prompt_lookup_max", longest, "longest suffix that is looked up",
          {.min = 1, .max = 64, .aliases = {"max_ngram", "max_ngram_size", "max_matching_ngram_size"}});
    p.add("prompt_lookup_min", shortest, "shortest suffix that is looked up",
          {.min = 1, .max = 64, .aliases = {"min_ngram"}});
    p.add("num_speculative_tokens", num_speculative_tokens, "tokens copied a round",
          {.min = 1, .max = 4096, .aliases = {"prompt_lookup_num_tokens", "num_pred_tokens"}});
    p.add("match", match, "which earlier occurrence is continued", {.choices = {"first", "last"}});
    p.add("whole_continuation", whole, "skip a match that has fewer than num_speculative_tokens tokens after it");
    if (shortest > longest)
      throw Error(p.where(), fmt::format("prompt_lookup_min {} is above prompt_lookup_max {}", shortest, longest));
  }
};

// Where n-grams of one length start in a growing text. Keys are positions and compare by the tokens there: no hash
// collision can give a match.
class NgramIndex {
 public:
  NgramIndex(int n, bool keep_first, const Tokens& text)
      : n_(n), keep_first_(keep_first), places_(16, Hash{n, &text}, Equal{n, &text}) {}

  // Indexes the n-grams that end before position `end`.
  void extend(int end) {
    for (; next_ + n_ <= end; ++next_) {
      const auto [it, added] = places_.emplace(next_, next_);
      if (!added && !keep_first_) it->second = next_;
    }
  }
  // Forgets the n-grams that reach beyond position `end`, while the text still holds them. Where the most recent match
  // is kept, the one before it is forgotten with it.
  void rewind(int end) {
    for (; next_ > 0 && next_ - 1 + n_ > end; --next_)
      if (const auto it = places_.find(next_ - 1); it != places_.end() && it->second == next_ - 1) places_.erase(it);
  }
  // The indexed occurrence of the n-gram that starts at `start`.
  std::optional<int> find(int start) const {
    const auto it = places_.find(start);
    return it == places_.end() ? std::nullopt : std::optional(it->second);
  }

 private:
  struct Hash {
    int n;
    const Tokens* text;
    std::size_t operator()(int start) const {
      std::uint64_t h = 0x9e3779b97f4a7c15ull;
      for (int i = 0; i < n; ++i) {
        h = (h ^ static_cast<std::uint32_t>((*text)[static_cast<std::size_t>(start) + static_cast<std::size_t>(i)])) *
            0xff51afd7ed558ccdull;
        h ^= h >> 32;
      }
      return h;
    }
  };
  struct Equal {
    int n;
    const Tokens* text;
    bool operator()(int a, int b) const {
      return std::equal(text->begin() + a, text->begin() + a + n, text->begin() + b);
    }
  };
  int n_;
  bool keep_first_;
  int next_ = 0;
  std::unordered_map<int, int, Hash, Equal> places_;
};

class Lookup final : public SequenceDrafter {
 public:
  explicit Lookup(const PromptLookupOptions& options) : options_(options) {
    for (int n = options.longest; n >= options.shortest; --n) indexes_.emplace_back(n, options.match == "first", text_);
  }

  DraftTree draft(const DraftContext& context) override {
    rewind(context.committed);
    text_.insert(text_.end(), context.committed.begin() + static_cast<std::ptrdiff_t>(text_.size()),
                 context.committed.end());
    const auto size = static_cast<int>(text_.size());
    DraftTree tree(text_.back());
    int n = options_.longest;
    std::optional<int> from;
    for (NgramIndex& index : indexes_) {
      // The suffix itself is not an occurrence: n-grams are indexed once a token has followed them.
      index.extend(size - 1);
      if (!from && n < size) from = continuation(index, n, size);
      --n;
    }
    if (!from) return tree;
    NodeId at = kAnchor;
    const int end =
        std::min(size, *from + std::min({options_.num_speculative_tokens, context.budget.depth, context.budget.nodes}));
    for (int i = *from; i < end; ++i) at = tree.choose(at, text_[static_cast<std::size_t>(i)], context.vocab);
    return tree;
  }

 private:
  // Inside a cascade the text may have lost tokens.
  void rewind(TokenSpan committed) {
    const auto same = std::mismatch(text_.begin(), text_.end(), committed.begin(), committed.end()).first;
    if (same == text_.end()) return;
    const auto kept = static_cast<int>(same - text_.begin());
    for (NgramIndex& index : indexes_) index.rewind(kept);
    text_.resize(static_cast<std::size_t>(kept));
  }

  std::optional<int> continuation(const NgramIndex& index, int n, int size) const {
    const auto place = index.find(size - n);
    if (!place) return std::nullopt;
    const int from = *place + n;
    if (options_.whole && from + options_.num_speculative_tokens > size) return std::nullopt;
    return from;
  }

  PromptLookupOptions options_;
  Tokens text_;
  std::vector<NgramIndex> indexes_;
};

class PromptLookupDrafter final : public PerSequenceDrafter {
 public:
  using Options = PromptLookupOptions;
  PromptLookupDrafter(const Options& options, const BuildContext&) : options_(options) {}
  DraftBudget limits() const override { return {options_.num_speculative_tokens, options_.num_speculative_tokens, 1}; }
  DraftForm form() const override { return {.point_mass = true}; }

 private:
  std::unique_ptr<SequenceDrafter> open(const PromptView&) override { return std::make_unique<Lookup>(options_); }
  Options options_;
};

FORETELL_REGISTER(Drafter, PromptLookupDrafter, "prompt_lookup",
                  {.summary = "copies what followed an earlier occurrence of the newest tokens in prompt and output",
                   .rewinds = true,
                   .paper = {"Saxena", 2023},
                   .also_known_as = {"PLD", "ngram"}});

}  // namespace
}  // namespace foretell::drafters
