#include "tests/drafters/head_recomputation.h"

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>

#include "experiments/certify/checks.h"
#include "framework/api/build_context.h"
#include "framework/api/policy.h"
#include "framework/model/hidden.h"
#include "tests/drafters/recording.h"

namespace foretell::testing {
namespace {

using namespace certify;

std::vector<Request> requests_of_all_lengths() {
  std::vector<Request> requests;
  for (std::uint64_t id = 0; id < 5; ++id) {
    Request request{.id = id, .max_new_tokens = 20 + 8 * static_cast<int>(id), .seed = 2};
    for (std::uint64_t i = 0; i <= 3 * id; ++i) request.prompt.push_back(static_cast<Token>((5 * i + id) % 16));
    request.sampling.temperature = kHeadTemperature;
    requests.push_back(request);
  }
  return requests;
}

std::vector<NodeId> nodes_at(const DraftTree& tree, int depth) {
  std::vector<NodeId> nodes;
  for (NodeId node = 0; node < tree.size(); ++node)
    if (tree.depth(node) == depth) nodes.push_back(node);
  return nodes;
}

double apart(const Distribution& q, std::span<const float> logits, std::span<const Token> ids, int vocab) {
  std::vector<double> p(static_cast<std::size_t>(vocab), 0);
  double sum = 0;
  const double most = *std::ranges::max_element(logits);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto id = ids.empty() ? i : static_cast<std::size_t>(ids[i]);
    sum += p[id] = std::exp((static_cast<double>(logits[i]) - most) / kHeadTemperature);
  }
  double worst = 0;
  for (Token token = 0; token < vocab; ++token)
    worst = std::max(worst, std::abs(q[token] - p[static_cast<std::size_t>(token)] / sum));
  return worst;
}

// Every level of the draft, from the committed text alone.
void compare(const Drafted& drafted, bases::LevelSource& source, const model::LanguageModel& target, Recomputed& out) {
  const int vocab = target.config().vocab_size;
  const TokenSpan committed = drafted.committed, known = committed.first(committed.size() - 1);
  const Request request{.prompt = drafted.committed, .max_new_tokens = 64};
  const auto policy = Registry<DraftPolicy>::instance().make(ConfigValue::scalar("fixed"), BuildContext());
  const Sampler sampler({.temperature = kHeadTemperature}, vocab);
  PhiloxRng rng({});
  const DraftContext context{.slot = 0,
                             .request = request,
                             .sampler = sampler,
                             .committed = committed,
                             .budget = {},
                             .rng = rng,
                             .policy = *policy,
                             .target = nullptr,
                             .vocab = vocab};
  source.begin(0, {request, committed}, drafted.tree.size());
  const model::HiddenStates states = hidden_of(target, known, source.required_hidden_states());
  source.observe_prompt(0, {0, known, &states});
  for (int depth = 0; depth < drafted.tree.depth(); ++depth) {
    const std::vector<NodeId> frontier = nodes_at(drafted.tree, depth);
    const bases::LevelRequest level{context, drafted.tree, frontier};
    bases::LevelRows rows = source.level(std::span(&level, 1), depth + 1);
    for (std::size_t i = 0; i < frontier.size(); ++i) {
      if (drafted.tree.proposals(frontier[i]).empty()) continue;
      const auto id = drafted.tree.proposals(frontier[i]).front().distribution;
      out.worst = std::max(out.worst, apart(drafted.tree.distribution(id).q, rows.logits.row(rows.row_of[i]),
                                            source.target_ids(), vocab));
      ++out.levels;
    }
  }
  source.end(0);
}

// The draft before this one of the same answer.
const Drafted* draft_before(const std::vector<Drafted>& drafted, std::size_t index) {
  const Tokens& committed = drafted[index].committed;
  const Drafted* before = nullptr;
  for (std::size_t j = 0; j < index; ++j)
    if (drafted[j].committed.size() < committed.size() && drafted[j].tree.size() > 1 &&
        std::equal(drafted[j].committed.begin(), drafted[j].committed.end(), committed.begin()))
      before = &drafted[j];
  return before;
}

}  // namespace

Recomputed recompute(const std::string& drafter, const std::string& tree, int batch,
                     const std::function<std::unique_ptr<bases::LevelSource>()>& source,
                     const std::shared_ptr<const KnownModel>& target) {
  const c10::InferenceMode inference;
  std::vector<Drafted> drafted;
  Setup setup = recorded(toy_setup(drafter, "rejection", tree, target), drafted);
  run(setup, requests_of_all_lengths(), {.batch = batch});
  Recomputed out;
  for (std::size_t i = 0; i < drafted.size(); ++i) {
    if (drafted[i].tree.size() == 1) {
      ++out.empty;
      continue;
    }
    if (const Drafted* before = draft_before(drafted, i)) {
      const auto accepted = static_cast<int>(drafted[i].committed.size() - before->committed.size()) - 1;
      ++(accepted == 0 ? out.none : accepted < before->tree.depth() ? out.some : out.whole);
    }
    const auto fresh = source();
    compare(drafted[i], *fresh, *target, out);
  }
  return out;
}

}  // namespace foretell::testing
