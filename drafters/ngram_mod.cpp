// Chains tokens out of one hash pool that all requests of a run share: the idea of llama.cpp's ngram-mod (2026), with
// rules of our own.
//
// The pool maps the hash of the last n tokens to the token that followed them last, in whatever request that was. A
// draft follows the pool from the newest n tokens on until an n-gram has no entry; a draft of fewer than min_draft
// tokens is not proposed. Prompts go in when a request begins, output as it is emitted.
//
// Deviations: entries remember more bits of their n-gram, so that a foreign one is not followed, and the pool is never
// emptied. The defaults suit answers of some hundred tokens; that program's own are ngram_size 24, min_draft 48 and 64
// tokens, for long texts that are edited. Memory: 8 bytes an entry, 2^21 entries by default (16 MiB), and nothing for a
// request.
#include "drafters/ngram_mod.h"

#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/core/mix.h"

namespace foretell::drafters {

NgramPool::NgramPool(int log2_entries) : entries_(std::size_t{1} << log2_entries) {}

NgramPool::Key NgramPool::key_of(TokenSpan ngram) const {
  std::uint64_t hash = ngram.size();
  for (const Token token : ngram)
    hash = (hash ^ static_cast<std::uint32_t>(token)) * 0x9e3779b97f4a7c15ull + (hash >> 29);
  hash = mix64(hash);
  return {static_cast<std::size_t>(hash) & (entries_.size() - 1), static_cast<std::uint32_t>(hash >> 32) | 1};
}

void NgramPool::put(TokenSpan ngram, Token next) {
  const Key key = key_of(ngram);
  entries_[key.place] = {key.check, next};
}

std::optional<Token> NgramPool::get(TokenSpan ngram) const {
  const Key key = key_of(ngram);
  const Entry& entry = entries_[key.place];
  return entry.check == key.check ? std::optional(entry.next) : std::nullopt;
}

namespace {

struct NgramModOptions {
  int ngram_size = 3;
  int num_speculative_tokens = 16;
  int min_draft = 1;
  int log2_entries = 21;
  void declare(Parameters& p) {
    p.add("ngram_size", ngram_size, "tokens that are looked up", {.min = 1, .max = 1024, .aliases = {"n_match"}});
    p.add("num_speculative_tokens", num_speculative_tokens, "tokens drafted a round",
          {.min = 1, .max = 4096, .aliases = {"n_max"}});
    p.add("min_draft", min_draft, "a shorter draft is not proposed", {.min = 1, .max = 4096, .aliases = {"n_min"}});
    p.add("log2_entries", log2_entries, "the pool has 2 to this power entries of 8 bytes", {.min = 4, .max = 30});
    if (min_draft > num_speculative_tokens)
      throw Error(p.where(),
                  fmt::format("min_draft {} is above num_speculative_tokens {}", min_draft, num_speculative_tokens));
  }
};

class NgramModDrafter final : public Drafter {
 public:
  using Options = NgramModOptions;
  NgramModDrafter(const Options& options, const BuildContext&) : options_(options), pool_(options.log2_entries) {}

  DraftBudget limits() const override { return {options_.num_speculative_tokens, options_.num_speculative_tokens, 1}; }
  DraftForm form() const override { return {.point_mass = true}; }

  void begin(SlotId, const PromptView& prompt) override { put_all(prompt.tokens, 0); }

  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> drafts;
    for (const DraftContext& context : batch) drafts.push_back(draft(context));
    return drafts;
  }

  void observe(std::span<const RoundView> rounds) override {
    for (const RoundView& round : rounds)
      put_all(round.committed, round.committed.size() - static_cast<std::size_t>(round.emitted));
  }

 private:
  std::size_t n() const { return static_cast<std::size_t>(options_.ngram_size); }

  // From `first` on, each token as what followed the n before it.
  void put_all(TokenSpan text, std::size_t first) {
    for (std::size_t i = std::max(first, n()); i < text.size(); ++i) pool_.put(text.subspan(i - n(), n()), text[i]);
  }

  DraftTree draft(const DraftContext& context) const {
    DraftTree none(context.committed.back());
    if (context.committed.size() < n()) return none;
    const TokenSpan newest = context.committed.last(n());
    Tokens text(newest.begin(), newest.end());
    const auto longest = static_cast<std::size_t>(
        std::min({options_.num_speculative_tokens, context.budget.depth, context.budget.nodes}));
    while (text.size() - n() < longest) {
      const auto next = pool_.get(TokenSpan(text).last(n()));
      if (!next) break;
      text.push_back(*next);
    }
    if (text.size() - n() < static_cast<std::size_t>(options_.min_draft)) return none;
    DraftTree tree(context.committed.back());
    NodeId at = kAnchor;
    for (const Token token : TokenSpan(text).subspan(n())) at = tree.choose(at, token, context.vocab);
    return tree;
  }

  Options options_;
  NgramPool pool_;
};

FORETELL_REGISTER(Drafter, NgramModDrafter, "ngram_mod",
                  {.summary = "chains tokens out of a hash pool of n-grams that all requests share", .stateful = true});

}  // namespace
}  // namespace foretell::drafters
