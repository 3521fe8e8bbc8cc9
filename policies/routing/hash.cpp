// Experts by the token alone (hash layers, Roller et al. 2021, arXiv 2106.04426).
//
// A random permutation of the vocabulary, another one in each layer, deals tokens out to experts, so that each expert
// has the same number of tokens (balanced hashing); k experts of a token follow each other. Weights are even, or the
// gate's softmax over them (`weights: gate`). No gate is needed to know the experts, so they can be fetched ahead. A
// row is routed by itself; no state. Rows that enter a forward as hidden states have no token: a drafter that resumes
// layers cannot be used with this.
#include <bit>
#include <utility>

#include "framework/api/build_context.h"
#include "framework/api/router.h"
#include "framework/core/error.h"
#include "framework/core/mix.h"

namespace foretell::policies::routing {
namespace {

struct HashOptions {
  int k = 1, seed = 0;
  std::string weights = "even";
  void declare(Parameters& p) {
    p.add("k", k, "experts that a row goes through", {.min = 1, .max = 1 << 16, .aliases = {"top_k"}});
    p.add("seed", seed, "of the permutations", {.min = 0});
    p.add("weights", weights, "1 / k each, or the gate's softmax over a token's experts",
          {.choices = {"even", "gate"}});
  }
};

// A permutation of [0, size) that needs no table: four Feistel rounds over the next even number of bits, again until
// the result is below size (cycle walking, Black and Rogaway 2002).
std::uint64_t permuted(std::uint64_t value, std::uint64_t size, std::uint64_t key) {
  const int half = (std::bit_width(size - 1) + 1) / 2;
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  do {
    std::uint64_t left = value >> half, right = value & mask;
    for (std::uint64_t round = 0; round < 4; ++round)
      left = std::exchange(right, left ^ (mix64(key + mix64(right * 4 + round)) & mask));
    value = left << half | right;
  } while (value >= size);
  return value;
}

class HashRouter final : public Router {
 public:
  using Options = HashOptions;
  HashRouter(Options options, const BuildContext& context)
      : options_(std::move(options)), vocab_(static_cast<std::uint64_t>(std::max(context.vocab, 2))) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    const auto experts = static_cast<std::uint64_t>(context.rule.experts), k = static_cast<std::uint64_t>(options_.k);
    const std::uint64_t key =
        mix64(static_cast<std::uint64_t>(options_.seed)) + static_cast<std::uint64_t>(context.layer);
    Routing routing{.per_row = options_.k};
    for (int row = 0; row < rows.rows; ++row) {
      const Token token = rows.tokens.empty() ? -1 : rows.tokens[static_cast<std::size_t>(row)];
      if (token < 0 || static_cast<std::uint64_t>(token) >= vocab_)
        fail(
            "router 'hash': a row of layer {} has no token; drafters that resume layers of the target cannot be used "
            "with it",
            context.layer);
      const std::uint64_t place = permuted(static_cast<std::uint64_t>(token), vocab_, key);
      std::vector<float> logits;
      for (std::uint64_t i = 0; i < k; ++i) {
        routing.experts.push_back(static_cast<int>((place * k + i) % experts));
        logits.push_back(rows.row(row, context.rule.experts)[static_cast<std::size_t>(routing.experts.back())]);
      }
      if (options_.weights == "even") logits.assign(logits.size(), 0);
      for (const double weight : gate_scores(logits, GateScore::Softmax))
        routing.weights.push_back(static_cast<float>(weight));
    }
    return routing;
  }
  bool row_independent() const override { return true; }
  std::optional<std::string> unsupported_reason(const ExpertRule& rule) const override {
    return too_many_experts(options_.k, rule.experts);
  }

 private:
  Options options_;
  std::uint64_t vocab_;
};

FORETELL_REGISTER(Router, HashRouter, "hash",
                  {.summary = "experts by the token alone, the same number of tokens for each",
                   .paper = {"Roller et al.", 2021, "2106.04426"},
                   .also_known_as = {"hash layers"}});

}  // namespace
}  // namespace foretell::policies::routing
