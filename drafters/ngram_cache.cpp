// Follows counted n-grams, one token after the other: the idea of llama.cpp's lookup decoding (its n-gram caches,
// 2024), with rules of our own.
//
// Three caches of n-grams of 1 to 4 tokens with counted followers: of this request's prompt and output, of the outputs
// of past requests, and (optional) of a corpus. The next drafted token is the most frequent follower of the longest
// n-gram that passes the thresholds: it was seen often enough and the follower has a large enough share. The request's
// own cache is asked first, under lax thresholds, then the two others under strict ones. The draft ends where no n-gram
// passes.
//
// Deviations: the corpus is counted with all four lengths and stands for itself; there it has pairs only and weighs the
// others' candidates. Outputs are remembered when a request ends, prompts are not. Thresholds are parameters with that
// program's values as defaults. Memory: a running request's cache has at most 4 pairs a token, past requests and corpus
// at most max_cached_pairs pairs each; a pair takes 50 to 150 bytes.
#include "drafters/ngram_cache.h"

#include <algorithm>
#include <map>
#include <memory>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/core/text.h"
#include "framework/datasets/corpus.h"

namespace foretell::drafters {
namespace {

constexpr std::uint64_t kNoTokens = 1;
std::uint64_t with_token_before(std::uint64_t ngram, Token token) {
  return mix64(ngram ^ static_cast<std::uint32_t>(token));
}

}  // namespace

void NgramCounts::count(std::uint64_t ngram, Token token, int times) {
  Pair& pair = *pairs_.insert(with_token_before(~ngram, token), {ngram, token, 0}).first;
  pair.count += times;
  Follower& follower = *followers_.insert(ngram, {}).first;
  follower.total += times;
  if (pair.count < follower.count) return;
  follower.token = token;
  follower.count = pair.count;
}

void NgramCounts::add(TokenSpan text) {
  std::uint64_t ngram = kNoTokens;
  for (std::size_t n = 1; n <= kLongest && n < text.size(); ++n) {
    ngram = with_token_before(ngram, text[text.size() - 1 - n]);
    count(ngram, text.back(), 1);
  }
  if (pairs_.size() > max_pairs_) forget();
}

std::optional<NgramCounts::Follower> NgramCounts::find(TokenSpan text, int n) const {
  if (text.size() < static_cast<std::size_t>(n)) return std::nullopt;
  std::uint64_t ngram = kNoTokens;
  for (int i = 1; i <= n; ++i) ngram = with_token_before(ngram, text[text.size() - static_cast<std::size_t>(i)]);
  const Follower* follower = followers_.find(ngram);
  return follower ? std::optional(*follower) : std::nullopt;
}

void NgramCounts::forget() {
  std::vector<Pair> kept;
  pairs_.for_each([&](std::uint64_t, const Pair& pair) { kept.push_back(pair); });
  // What counts are divided by, so that at most half of the room stays taken.
  int divisor = 1;
  const auto stays = [&](const Pair& pair) { return pair.count >= divisor; };
  do divisor *= 2;
  while (static_cast<std::size_t>(std::count_if(kept.begin(), kept.end(), stays)) > max_pairs_ / 2);
  pairs_.clear();
  followers_.clear();
  for (const Pair& pair : kept)
    if (stays(pair)) count(pair.ngram, pair.token, pair.count / divisor);
}

namespace {

struct NgramCacheOptions {
  int num_speculative_tokens = 16;
  std::vector<int> min_counts = {2, 2, 1, 1};
  std::vector<double> min_shares = {0.66, 0.5, 0.5, 0.5};
  std::vector<int> strict_min_counts = {4, 3, 2, 2};
  std::vector<double> strict_min_shares = {0.75, 0.66, 0.66, 0.66};
  bool past_requests = true;
  std::optional<std::string> corpus;
  int corpus_tokens = 1000000;
  int max_cached_pairs = 1000000;
  void declare(Parameters& p) {
    p.add("num_speculative_tokens", num_speculative_tokens, "tokens drafted a round",
          {.min = 1, .max = 4096, .aliases = {"draft_max", "n_max"}});
    p.add("min_counts", min_counts,
          "the request's own n-grams of 1, 2, 3 and 4 tokens: how often they must have been seen", {.min = 1});
    p.add("min_shares", min_shares, "and which share of that their follower must have", {.min = 0, .max = 1});
    p.add("strict_min_counts", strict_min_counts, "the same for past requests and the corpus", {.min = 1});
    p.add("strict_min_shares", strict_min_shares, "the same for past requests and the corpus", {.min = 0, .max = 1});
    p.add("past_requests", past_requests, "also count the outputs of past requests");
    p.add("corpus", corpus, "a file to count: plain text, or FastChat's answer rows (.jsonl)",
          {.aliases = {"lookup_cache_static"}});
    p.add("corpus_tokens", corpus_tokens, "tokens of it that are read", {.min = 1, .max = 100000000});
    p.add("max_cached_pairs", max_cached_pairs, "pairs of n-gram and follower kept of past requests, and of the corpus",
          {.min = 16, .max = 1000000000});
    const auto four = [&](std::string_view name, std::size_t size) {
      if (size != NgramCounts::kLongest)
        throw Error(p.where(), fmt::format("{}: {}, expected 4: for n-grams of 1, 2, 3 and 4 tokens", name,
                                           counted(size, "value")));
    };
    four("min_counts", min_counts.size());
    four("min_shares", min_shares.size());
    four("strict_min_counts", strict_min_counts.size());
    four("strict_min_shares", strict_min_shares.size());
  }
};

struct NgramThresholds {
  const std::vector<int>& counts;
  const std::vector<double>& shares;
};

std::optional<Token> likely_follower(const NgramCounts& counts, TokenSpan text, const NgramThresholds& thresholds) {
  for (int n = NgramCounts::kLongest; n >= 1; --n) {
    const auto found = counts.find(text, n);
    const auto i = static_cast<std::size_t>(n - 1);
    if (found && found->total >= thresholds.counts[i] && found->count >= thresholds.shares[i] * found->total)
      return found->token;
  }
  return std::nullopt;
}

class NgramCacheDrafter final : public Drafter {
 public:
  using Options = NgramCacheOptions;
  NgramCacheDrafter(const Options& options, const BuildContext& context)
      : options_(options),
        past_(static_cast<std::size_t>(options.max_cached_pairs)),
        corpus_(static_cast<std::size_t>(options.max_cached_pairs)) {
    if (!options.corpus) return;
    if (!context.tokenizer) fail("drafter 'ngram_cache': corpus needs the target's tokenizer; this target has none");
    for (const Tokens& document : datasets::read_corpus(*options.corpus, *context.tokenizer, options.corpus_tokens))
      count_all(document, 1, corpus_);
    if (corpus_.pairs() == 0) fail("{}: holds no text", *options.corpus);
  }

  DraftBudget limits() const override { return {options_.num_speculative_tokens, options_.num_speculative_tokens, 1}; }
  DraftForm form() const override { return {.point_mass = true}; }

  void begin(SlotId slot, const PromptView& prompt) override {
    // Never full: a request's own n-grams are all of its text.
    NgramCounts& own = running_.insert_or_assign(slot, Running{NgramCounts(~std::size_t{0}), {}}).first->second.counts;
    count_all(prompt.tokens, 1, own);
  }

  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> drafts;
    for (const DraftContext& context : batch) drafts.push_back(draft(context));
    return drafts;
  }

  void observe(std::span<const RoundView> rounds) override {
    for (const RoundView& round : rounds) {
      Running& running = running_.at(round.slot);
      const std::size_t before = round.committed.size() - static_cast<std::size_t>(round.emitted);
      count_all(round.committed, before, running.counts);
      const TokenSpan emitted = round.committed.subspan(before);
      running.output.insert(running.output.end(), emitted.begin(), emitted.end());
    }
  }

  void end(SlotId slot) override {
    const auto running = running_.find(slot);
    if (running == running_.end()) return;
    if (options_.past_requests) count_all(running->second.output, 1, past_);
    running_.erase(running);
  }

 private:
  struct Running {
    NgramCounts counts;
    Tokens output;
  };

  // From `first` on, each token as what followed those before it.
  static void count_all(TokenSpan text, std::size_t first, NgramCounts& counts) {
    for (std::size_t i = first; i < text.size(); ++i)
      counts.add(text.first(i + 1).last(std::min<std::size_t>(i + 1, NgramCounts::kLongest + 1)));
  }

  DraftTree draft(const DraftContext& context) const {
    const NgramCounts& own = running_.at(context.slot).counts;
    const NgramThresholds lax{options_.min_counts, options_.min_shares},
        strict{options_.strict_min_counts, options_.strict_min_shares};
    DraftTree tree(context.committed.back());
    const TokenSpan newest =
        context.committed.last(std::min<std::size_t>(context.committed.size(), NgramCounts::kLongest));
    Tokens text(newest.begin(), newest.end());
    NodeId at = kAnchor;
    while (tree.depth() < std::min({options_.num_speculative_tokens, context.budget.depth, context.budget.nodes})) {
      auto token = likely_follower(own, text, lax);
      if (!token && options_.past_requests) token = likely_follower(past_, text, strict);
      if (!token) token = likely_follower(corpus_, text, strict);
      if (!token) break;
      at = tree.choose(at, *token, context.vocab);
      text.push_back(*token);
    }
    return tree;
  }

  Options options_;
  NgramCounts past_, corpus_;
  std::map<SlotId, Running> running_;
};

FORETELL_REGISTER(Drafter, NgramCacheDrafter, "ngram_cache",
                  {.summary = "follows counted n-grams of this request, of past outputs and of a corpus",
                   .stateful = true});

}  // namespace
}  // namespace foretell::drafters
