// Knows the answer and proposes it with a given rate: the ceiling of what a drafter of that quality can gain.
//
// At depth i the true token is proposed with the rate of that depth, else another one; deeper nodes follow the answer
// again, although nothing below a wrong token can be accepted. The answer is the request's reference: the same prompt's
// baseline, or a recorded run. Only at temperature 0: a sampled answer is not known in advance.
#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/decoding/bases/acceptance_rates.h"
#include "framework/io/file_bytes.h"
#include "framework/io/json_reader.h"

namespace foretell::drafters {
namespace {

constexpr std::int64_t kMostAccepted = 4096;

struct OracleOptions {
  bases::AcceptanceRates rates = {.all = 0.8};
  std::optional<int> num_speculative_tokens;
  std::optional<std::string> accept_lengths;
  void declare(Parameters& p) {
    p.add("acceptance_rate", rates.all, "probability that a drafted token is the true one",
          {.min = 0, .max = 1, .aliases = {"rate"}});
    p.add("acceptance_rates", rates.by_depth,
          "the same by depth, given that the draft was right so far; the last entry holds for deeper ones",
          {.min = 0, .max = 1, .aliases = {"rates"}});
    p.add("accept_lengths", accept_lengths,
          "a recorded run whose rates by depth are taken: FastChat's rows (.jsonl) with accept_lengths, tokens emitted "
          "a round");
    p.add("num_speculative_tokens", num_speculative_tokens,
          "tokens drafted a round; none: 4, or the most that the recorded run accepted", {.min = 1, .max = 4096});
  }
};

// Of the rounds of a recorded run: how often a token at each depth was accepted, given that those before it were.
// Rounds of one token accepted none.
std::vector<double> recorded_rates(const std::string& path) {
  std::vector<double> reached;  // [d]: rounds that accepted at least d tokens
  io::for_each_json_line(io::read_file_bytes(path), path, [&](const io::JsonView& row) {
    const io::JsonView choices = row.at("choices");
    for (std::size_t c = 0; c < choices.size(); ++c) {
      const io::JsonView lengths = choices.at(c).at("accept_lengths");
      for (std::size_t i = 0; i < lengths.size(); ++i) {
        const std::int64_t emitted = lengths.at(i).integer();
        if (emitted < 0 || emitted > kMostAccepted)
          fail_at(row.where(), "accept_lengths: {} in a round, at most {}", counted(emitted, "token"), kMostAccepted);
        if (emitted == 0) continue;  // a round that the end of the answer cut off
        if (reached.size() < static_cast<std::size_t>(emitted)) reached.resize(static_cast<std::size_t>(emitted), 0.0);
        for (std::int64_t d = 0; d < emitted; ++d) ++reached[static_cast<std::size_t>(d)];
      }
    }
  });
  if (reached.size() < 2) fail("{}: no round of it accepted a token", path);
  std::vector<double> rates;
  for (std::size_t d = 1; d < reached.size(); ++d) rates.push_back(reached[d] / reached[d - 1]);
  return rates;
}

class OracleDrafter final : public Drafter {
 public:
  using Options = OracleOptions;
  OracleDrafter(const Options& options, const BuildContext& context) : rates_(options.rates) {
    if (options.accept_lengths) rates_.by_depth = recorded_rates(context.file(*options.accept_lengths));
    depth_ =
        options.num_speculative_tokens.value_or(options.accept_lengths ? static_cast<int>(rates_.by_depth.size()) : 4);
  }

  DraftBudget limits() const override { return {depth_, depth_, 1}; }
  DraftForm form() const override { return {.point_mass = true}; }
  void check(const Request& request) const override {
    if (!request.sampling.greedy())
      fail("drafter 'oracle' knows the greedy answer only: temperature is {}, expected 0",
           request.sampling.temperature);
    if (request.reference.empty())
      fail("drafter 'oracle': request {} has no known answer (baseline or recording)", request.id);
  }

  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> drafts;
    for (const DraftContext& context : batch) drafts.push_back(draft(context));
    return drafts;
  }

 private:
  DraftTree draft(const DraftContext& context) const {
    DraftTree tree(context.committed.back());
    const TokenSpan answer = context.request.reference;
    const std::size_t done = context.generated().size();
    NodeId at = kAnchor;
    for (int depth = 1; depth <= std::min(context.budget.depth, context.budget.nodes); ++depth) {
      const std::size_t next = done + static_cast<std::size_t>(depth) - 1;
      if (next >= answer.size()) break;
      const bool right = context.rng.bernoulli(rates_.at(depth));
      at = tree.choose(at, right ? answer[next] : (answer[next] + 1) % context.vocab, context.vocab);
    }
    return tree;
  }

  bases::AcceptanceRates rates_;
  int depth_;
};

FORETELL_REGISTER(Drafter, OracleDrafter, "oracle",
                  {.summary = "proposes the known answer with a given acceptance rate: an upper bound",
                   .given_acceptance = true});

}  // namespace
}  // namespace foretell::drafters
