// Drafting by levels on a source whose rows are a table: what does not depend on who gives the logits.
#include "framework/decoding/bases/level_drafter.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "experiments/certify/checks.h"
#include "framework/api/build_context.h"
#include "framework/api/policy.h"
#include "framework/core/error.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

using namespace certify;

using Table = std::vector<std::vector<float>>;  // a row of logits for each depth from 1 on

// Heads that do not see the path: all nodes of a depth share one row. `full`: slots where nothing can follow depth 1.
struct TableSource final : LevelSource {
  explicit TableSource(Table rows, std::vector<Token> target_ids = {})
      : table(std::move(rows)), ids(std::move(target_ids)) {}

  int deepest() const override { return static_cast<int>(table.size()); }
  bool rewinds() const override { return true; }
  std::span<const Token> target_ids() const override { return ids; }
  HiddenStateRequest required_hidden_states() const override { return {.aux_states = {1}, .final_state = true}; }
  void begin(SlotId, const PromptView&, int nodes) override { most_nodes = nodes; }
  void observe_prompt(SlotId, const PromptChunk& chunk) override { prompt_tokens += chunk.tokens.size(); }
  void observe(std::span<const RoundView> rounds) override { rounds_seen += rounds.size(); }
  void end(SlotId) override { ++ended; }

  LevelRows level(std::span<const LevelRequest> batch, int depth) override {
    REQUIRE(depth <= deepest());
    LevelRows out;
    asked.push_back(depth);
    const std::vector<float>& row = table[static_cast<std::size_t>(depth - 1)];
    out.logits = HostLogits(at::tensor(row).unsqueeze(0));
    for (const LevelRequest& request : batch) {
      if (depth == 1)
        CHECK(std::vector<NodeId>(request.frontier.begin(), request.frontier.end()) == std::vector{kAnchor});
      for (const NodeId node : request.frontier) {
        CHECK(static_cast<int>(request.tree.path(node).size()) == depth - 1);
        const bool is_full = depth > 1 && std::ranges::count(full, request.context.slot) > 0;
        out.row_of.push_back(is_full ? LevelRows::kNone : 0);
      }
    }
    return out;
  }

  Table table;
  std::vector<Token> ids;
  std::vector<SlotId> full = {};
  std::vector<int> asked = {};
  int most_nodes = 0, ended = 0;
  std::size_t prompt_tokens = 0, rounds_seen = 0;
};

const Table kTable = {
    {0.1F, 1.5F, -0.7F, 0.9F, 0.2F}, {2.0F, 0.3F, 1.1F, -1.0F, 0.4F}, {0.0F, 0.8F, 0.5F, 1.9F, -2.0F}};

ModelDraftOptions options_of(const std::string& yaml) {
  ModelDraftOptions options;
  Parameters::read(parse_yaml(yaml, "study.yaml"), "drafter", options);
  return options;
}

// A drafter on a table, with a hand on its source.
struct Drafting {
  explicit Drafting(const std::string& yaml, Table rows = kTable, std::vector<Token> ids = {}) {
    auto made = std::make_unique<TableSource>(std::move(rows), std::move(ids));
    source = made.get();
    BuildContext context;
    context.vocab = 5;
    drafter = std::make_unique<LevelDrafter>(options_of(yaml), std::move(made), context);
  }

  // One draft of each sequence, all in one batch; slot i draws with seed i.
  std::vector<DraftTree> draft(std::span<const SlotId> slots, double temperature,
                               std::optional<DraftBudget> of_second = {}, double penalty = 1) {
    const Request request{.prompt = prompt, .max_new_tokens = 20};
    SamplingOptions sampling{.temperature = temperature};
    sampling.repetition_penalty = penalty;
    const Sampler sampler(sampling, 5);
    std::vector<PhiloxRng> rngs;
    for (const SlotId slot : slots) rngs.emplace_back(RngKey{.seed = static_cast<std::uint64_t>(slot)});
    std::vector<DraftContext> contexts;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      const DraftBudget budget = i == 1 && of_second ? *of_second : drafter->limits();
      contexts.push_back({slots[i], request, sampler, prompt, budget, rngs[i], *policy, nullptr, 5});
      drafter->begin(slots[i], {request, prompt});
    }
    return drafter->draft(contexts);
  }
  DraftTree draft(double temperature, SlotId slot = 0, double penalty = 1) {
    return draft(std::vector{slot}, temperature, {}, penalty).front();
  }

  Tokens prompt{1, 2, 1};
  std::unique_ptr<DraftPolicy> policy =
      Registry<DraftPolicy>::instance().make(ConfigValue::scalar("fixed"), BuildContext());
  TableSource* source = nullptr;
  std::unique_ptr<LevelDrafter> drafter;
};

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> out;
  double sum = 0;
  for (const float logit : logits) sum += out.emplace_back(std::exp(logit / temperature));
  for (double& p : out) p /= sum;
  return out;
}

std::vector<Token> children_of(const DraftTree& tree, NodeId node) {
  std::vector<Token> out;
  for (const Proposal& proposal : tree.proposals(node)) out.push_back(tree.node(proposal.node).token);
  return out;
}

void check_same(const DraftTree& a, const DraftTree& b) {
  REQUIRE(a.size() == b.size());
  for (NodeId node = 0; node < a.size(); ++node) {
    CHECK(a.node(node).token == b.node(node).token);
    CHECK(a.node(node).parent == b.node(node).parent);
  }
}

TEST_CASE("nodes that share a row get the same best children, each its own") {
  Drafting one("{draft_sample_method: top_k, tree: {type: widths, widths: [2, 2, 1]}}");
  const DraftTree tree = one.draft(1.0);
  REQUIRE(tree.size() == 1 + 2 + 4 + 4);
  CHECK(children_of(tree, kAnchor) == Tokens{1, 3});
  for (NodeId node = 1; node < tree.size(); ++node) {
    const auto depth = tree.path(node).size();
    if (depth == 1) CHECK(children_of(tree, node) == Tokens{0, 2});
    if (depth == 2) CHECK(children_of(tree, node) == Tokens{3});
    if (depth == 3) CHECK(children_of(tree, node).empty());
  }
  CHECK(one.source->asked == std::vector{1, 2, 3});
}

TEST_CASE("tokens that are drawn from a shared row stand with that row's distribution, whole, at every node") {
  Drafting one("{tree: {type: widths, widths: [3, 2, 1]}}");
  for (SlotId slot = 0; slot < 20; ++slot) {
    const DraftTree tree = one.draft(0.7, slot);
    for (NodeId node = 0; node < tree.size(); ++node) {
      const auto proposals = tree.proposals(node);
      if (proposals.empty()) continue;
      const DraftDistribution& distribution = tree.distribution(proposals.front().distribution);
      CHECK(distribution.kind == Draws::WithoutReplacement);
      const auto expected = softmax(kTable[tree.path(node).size()], 0.7);
      for (Token token = 0; token < 5; ++token)
        CHECK(distribution.q[token] == Approx(expected[static_cast<std::size_t>(token)]).margin(1e-6));
      Tokens tokens = children_of(tree, node);
      std::ranges::sort(tokens);
      CHECK(std::ranges::adjacent_find(tokens) == tokens.end());
    }
  }
}

TEST_CASE("penalties follow each node's own path where nodes share a row") {
  Drafting one("{tree: {type: widths, widths: [3, 1]}}");
  one.prompt = {4};
  const DraftTree tree = one.draft(1.0, 3, 1.8);
  REQUIRE(tree.size() == 7);
  for (NodeId node = 1; node <= 3; ++node) {
    std::vector<float> logits = kTable[1];
    for (const Token seen : std::set<Token>{4, tree.node(node).token}) {
      float& logit = logits[static_cast<std::size_t>(seen)];
      logit = logit > 0 ? logit / 1.8F : logit * 1.8F;
    }
    const auto expected = softmax(logits, 1.0);
    const Distribution& q = tree.distribution(tree.proposals(node).front().distribution).q;
    for (Token token = 0; token < 5; ++token)
      CHECK(q[token] == Approx(expected[static_cast<std::size_t>(token)]).margin(1e-6));
  }
}

TEST_CASE("a draft ends at the deepest level of its source") {
  Drafting chain("{}");
  CHECK(chain.drafter->limits().depth == 3);
  CHECK(chain.drafter->limits().nodes == 3);
  CHECK(chain.draft(0.0).depth() == 3);
  CHECK(chain.source->asked == std::vector{1, 2, 3});
  Drafting tree("{tree: {type: widths, widths: [2, 1, 1, 1, 1]}}");
  CHECK(tree.drafter->limits().depth == 3);
  CHECK(tree.draft(1.0).depth() == 3);
  Drafting shorter("{num_speculative_tokens: 2}");
  CHECK(shorter.draft(0.0).depth() == 2);
  CHECK(shorter.source->asked == std::vector{1, 2});
  CHECK_THROWS_WITH(Drafting("{\n num_speculative_tokens: 4}"),
                    Catch::Contains("study.yaml:") &&
                        Catch::Contains("num_speculative_tokens is 4, this drafter has 3 levels: expected at most"));
}

TEST_CASE("a batch is asked once a level, and each sequence drafts what it drafts alone") {
  const std::string yaml = "{tree: {type: widths, widths: [2, 2, 1]}}";
  Drafting batch(yaml);
  const std::vector<SlotId> slots{4, 7, 2};
  const auto together = batch.draft(slots, 1.0);
  CHECK(batch.source->asked == std::vector{1, 2, 3});
  for (std::size_t i = 0; i < slots.size(); ++i) {
    INFO("slot " << slots[i]);
    check_same(together[i], Drafting(yaml).draft(1.0, slots[i]));
  }
}

TEST_CASE("sequences of a batch stop apart: without a budget, at a smaller one, and where nothing can follow") {
  const std::string yaml = "{tree: {type: widths, widths: [2, 2, 1]}}";
  const std::vector<SlotId> slots{4, 7, 2};
  const DraftTree whole = Drafting(yaml).draft(1.0, 2);
  for (const DraftBudget second : {DraftBudget{0, 3, 4}, DraftBudget{3, 3, 4}, DraftBudget{10, 1, 4}}) {
    Drafting batch(yaml);
    const auto drafts = batch.draft(slots, 1.0, second);
    CHECK(drafts[1].size() - 1 == std::min(second.nodes, second.depth == 1 ? 2 : 10));
    CHECK(drafts[1].depth() <= second.depth);
    check_same(drafts[2], whole);
  }
  Drafting batch(yaml);
  batch.source->full = {4, 7};
  const auto drafts = batch.draft(slots, 1.0);
  CHECK(drafts[0].depth() == 1);
  CHECK(drafts[1].depth() == 1);
  check_same(drafts[2], whole);
}

TEST_CASE("ids of the source become the target's, and the rest of its distribution is cut away") {
  const Table rows = {{1.0F, 5.0F, 0.5F}, {0.2F, 4.0F, 1.2F}};
  Drafting one("{tree: {type: widths, widths: [2, 1]}}", rows, {4, -1, 0});
  const DraftTree tree = one.draft(1.0);
  Tokens first = children_of(tree, kAnchor);
  std::ranges::sort(first);
  CHECK(first == Tokens{0, 4});
  const Distribution& q = tree.distribution(tree.proposals(kAnchor).front().distribution).q;
  const auto expected = softmax({1.0F, 0.5F}, 1.0);
  CHECK(q[4] == Approx(expected[0]).margin(1e-6));
  CHECK(q[0] == Approx(expected[1]).margin(1e-6));
  CHECK(q[1] + q[2] + q[3] == 0);
  CHECK(children_of(Drafting("{}", rows, {4, -1, 0}).draft(0.0), kAnchor) == Tokens{4});
}

TEST_CASE("what a source wants, it gets") {
  Drafting one("{tree: {type: widths, widths: [2, 2]}}");
  LevelDrafter& drafter = *one.drafter;
  CHECK(drafter.required_hidden_states() == HiddenStateRequest{.aux_states = {1}, .final_state = true});
  CHECK(drafter.traits().rewinds);
  const Request request{.prompt = {1, 2, 3}};
  drafter.begin(0, {request, request.prompt});
  CHECK(one.source->most_nodes == 6);
  drafter.observe_prompt(0, {0, TokenSpan(request.prompt).first(2), nullptr});
  CHECK(one.source->prompt_tokens == 2);
  drafter.end(0);
  CHECK(one.source->ended == 1);
}

TEST_CASE("drafts of factorised heads lose nothing, drawn and chosen") {
  const Table rows = {{0.1F, 1.5F, -0.7F}, {1.0F, 0.3F, 1.1F}};
  for (const char* yaml :
       {"{}", "{tree: {type: widths, widths: [2, 2]}}", "{replacement: true, tree: {type: widths, widths: [2]}}",
        "{draft_sample_method: top_k, tree: {type: widths, widths: [2, 1]}}"}) {
    INFO(yaml);
    Setup setup = toy_setup("none", "rejection", "", toy_target(3));
    setup.drafter = [&rows, yaml]() -> std::unique_ptr<Drafter> {
      BuildContext context;
      context.vocab = 3;
      return std::make_unique<LevelDrafter>(options_of(yaml), std::make_unique<TableSource>(rows), context);
    };
    CHECK(check_exact(setup).value_or("") == "");
    CHECK(check_identity(setup).value_or("") == "");
  }
}

}  // namespace
}  // namespace foretell::testing
