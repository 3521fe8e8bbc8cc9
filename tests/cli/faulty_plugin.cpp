// Strategies of each kind that do well, until FAULTY names one of their faults ("verifier:no_path"); FAULTY_AFTER calls
// go well before that. Built and run by plugin_faults_test.py.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string_view>
#include <thread>

#include "framework/api/attention_policy.h"
#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/api/exit_policy.h"
#include "framework/api/policy.h"
#include "framework/api/router.h"
#include "framework/api/verifier.h"

namespace {

using namespace foretell;

bool has(std::string_view fault) {
  const char* wanted = std::getenv("FAULTY");
  if (!wanted || fault != wanted) return false;
  static int calls = 0;
  const char* after = std::getenv("FAULTY_AFTER");
  return ++calls > (after ? std::atoi(after) : 0);
}

struct Unknown {};

// What any method can do.
void misbehave(const std::string& kind) {
  if (has(kind + ":throw_int")) throw 5;
  if (has(kind + ":throw_type")) throw Unknown{};
  if (has(kind + ":throw_lines")) throw std::runtime_error("one\ntwo\n  three");
  if (has(kind + ":throw_error")) fail("a mistake of the user");
  if (has(kind + ":memory")) throw std::bad_alloc();
  if (has(kind + ":segv")) *static_cast<volatile int*>(nullptr) = 1;
  if (has(kind + ":abort")) std::abort();
}

// Fills the stack: the compiler does not know that it ends nowhere.
int endless(int depth) {
  volatile char filler[4096];
  filler[0] = static_cast<char>(depth);
  return std::getenv("FAULTY") ? endless(depth + 1) + filler[0] : depth;
}

// The last token has a probability of its own.
Distribution tilted(int vocab, double probability, double rest) {
  std::vector<double> p(static_cast<std::size_t>(vocab), rest / (vocab - 1));
  p.back() = probability;
  return Distribution::dense(std::move(p));
}

struct FaultyDrafter final : Drafter {
  using Options = NoOptions;
  FaultyDrafter(const Options&, const BuildContext&) {
    if (has("constructor:throw_int")) throw 7;
    if (has("constructor:throw_lines")) throw std::runtime_error("boom\nline two");
    if (has("constructor:throw_error")) fail("needs a file");
    if (has("constructor:segv")) std::raise(SIGSEGV);
  }
  DraftBudget limits() const override {
    if (has("drafter:limits_negative")) return {-5, 4, 1};
    if (has("drafter:limits_huge")) return {2147483647, 2147483647, 2147483647};
    return {4, 4, 4};
  }
  DraftForm form() const override {
    if (has("drafter:chain")) return {.point_mass = true};  // no fault: all that it does without one
    return {.tree = true, .point_mass = true, .independent = true, .without_replacement = true};
  }
  DrafterTraits traits() const override { return {.rewinds = true}; }
  void observe(std::span<const RoundView>) override { misbehave("drafter_observe"); }
  void end(SlotId) override {
    if (has("drafter:throw_in_end")) throw std::runtime_error("cannot end");
  }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    misbehave("drafter");
    if (has("drafter:hang"))
      for (volatile bool forever = true; forever;) {
      }
    if (has("drafter:stack")) endless(0);
    if (has("drafter:divide")) std::raise(SIGFPE);
    if (has("drafter:exit")) std::exit(0);
    if (has("drafter:thread")) std::thread([] { *static_cast<volatile int*>(nullptr) = 1; }).join();
    std::vector<DraftTree> drafts;
    for (const DraftContext& c : batch) {
      DraftTree tree(c.committed.back());
      if (c.budget.nodes > 0) grow(c, tree);
      drafts.push_back(std::move(tree));
    }
    if (has("drafter:count")) drafts.emplace_back(1);
    return drafts;
  }
  static void grow(const DraftContext& c, DraftTree& tree) {
    const auto drawn = [&](Distribution q, Draws kind = Draws::IndependentDraws) {
      tree.propose(kAnchor, 1, tree.add_distribution(std::move(q), kind));
    };
    if (has("drafter:distributions_without_end"))
      for (;;) tree.add_distribution(Distribution::point_mass(c.vocab, 1), Draws::PointMass);
    if (has("drafter:proposals_without_end"))
      for (const DistributionId distribution =
               tree.add_distribution(Distribution::point_mass(c.vocab, 1), Draws::PointMass);
           ;)
        tree.propose(kAnchor, 1, distribution);
    if (has("drafter:negative")) drawn(tilted(c.vocab, -0.5, 1.5));
    if (has("drafter:sum")) drawn(tilted(c.vocab, 0.25, 0.5));
    if (has("drafter:two_vocabularies")) {
      drawn(tilted(c.vocab, 0.5, 0.5));
      drawn(tilted(c.vocab + 1, 0.5, 0.5));
    }
    if (has("drafter:sparse_order")) drawn(Distribution::sparse(c.vocab, {1, 5, 4}, {0.5, 0.25, 0.25}));
    if (has("drafter:sparse_range")) drawn(Distribution::sparse(c.vocab, {1, c.vocab + 50}, {0.5, 0.5}));
    if (has("drafter:drawn_twice")) {
      const DistributionId distribution = tree.add_distribution(tilted(c.vocab, 0.5, 0.5), Draws::WithoutReplacement);
      tree.propose(kAnchor, 1, distribution);
      tree.propose(kAnchor, 1, distribution);
    }
    if (has("drafter:not_chosen")) drawn(tilted(c.vocab, 0.5, 0.5), Draws::PointMass);
    if (has("drafter:node_id")) tree.node(99);
    if (has("drafter:prune")) tree = tree.pruned(std::vector<NodeId>{12});
    if (tree.size() == 1) tree.choose(kAnchor, (c.committed.back() + 1) % c.vocab, c.vocab);
  }
};

struct FaultyVerifier final : Verifier {
  using Options = NoOptions;
  FaultyVerifier(const Options&, const BuildContext&) {}
  Verdict verify(const DraftTree& draft, Scores& scores, Rng&) const override {
    misbehave("verifier");
    if (has("verifier:no_path")) return {{2, 1}, 3, NextKind::Bonus};
    if (has("verifier:no_node")) return {{77}, 3, NextKind::Bonus};
    if (has("verifier:anchor")) return {{0}, 3, NextKind::Bonus};
    if (has("verifier:next")) return {{}, 2000000000, NextKind::Bonus};
    if (has("verifier:next_negative")) return {{}, -1, NextKind::Bonus};
    if (has("verifier:scores")) scores.distribution(1000);
    Verdict verdict;
    for (NodeId at = kAnchor;;) {
      verdict.next = scores.argmax(at);
      const auto child = draft.child(at, verdict.next);
      if (!child || !draft.proposed(*child)) return verdict;
      verdict.accepted.push_back(at = *child);
    }
  }
};

struct FaultyPolicy final : DraftPolicy {
  using Options = NoOptions;
  FaultyPolicy(const Options&, const BuildContext&) {}
  void plan(std::span<const PolicyView>, std::span<DraftBudget> budgets) override {
    misbehave("policy");
    if (has("policy:negative")) budgets[0] = {-3, 4, 1};
    if (has("policy:width")) budgets[0].width = -2147483647 - 1;
    if (has("policy:huge")) budgets[0] = {2147483647, 2147483647, 2147483647};  // no fault: it is clipped
  }
  bool should_continue(const DraftStep&) override {
    if (has("policy:throw_in_go_on")) throw 5;
    return true;
  }
};

struct FaultyTree final : TreePolicy {
  using Options = NoOptions;
  FaultyTree(const Options&, const BuildContext&) {}
  DraftBudget limits() const override {
    if (has("tree:limits")) return {2147483647, 2147483647, 1};
    return {4, 2, 2};
  }
  std::optional<int> beam() const override { return has("tree:beam") ? std::optional(-1) : std::nullopt; }
  int grown_nodes() const override { return has("tree:grown_nodes") ? 1 : 8; }
  std::vector<int> expand(const Frontier& frontier) override {
    misbehave("tree");
    if (has("tree:widths")) return std::vector<int>(frontier.nodes.size() + 9, 2);
    if (has("tree:negative")) return std::vector<int>(frontier.nodes.size(), -7);
    return std::vector<int>(frontier.nodes.size(), 2);
  }
  std::vector<NodeId> select(const DraftTree& draft, std::span<const double>, int nodes) override {
    if (has("tree:keep_nobody")) return {999};
    std::vector<NodeId> all(static_cast<std::size_t>(draft.size()) - 1);
    std::iota(all.begin(), all.end(), 1);
    if (!has("tree:keep_all")) all.resize(std::min(all.size(), static_cast<std::size_t>(nodes)));
    return all;
  }
};

struct FaultyAttention final : AttentionPolicy {
  using Options = NoOptions;
  FaultyAttention(const Options&, const BuildContext&) {}
  FaultyAttention() = default;
  std::unique_ptr<AttentionPolicy> fresh() const override {
    return has("attention:fresh") ? nullptr : std::make_unique<FaultyAttention>();
  }
  KvSelection select_kv(const AttentionView& view) override {
    misbehave("attention");
    if (has("attention:range")) return {{view.cached}};
    if (has("attention:order")) return {{1, 0}};
    if (has("attention:heads")) return {{0, 1, 2}, true};
    return {{0}};
  }
};

struct FaultyRouter final : Router {
  using Options = NoOptions;
  FaultyRouter(const Options&, const BuildContext&) {}
  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    misbehave("router");
    Routing routing{2, {}, {}};
    for (int row = 0; row < rows.rows; ++row) {
      routing.experts.insert(routing.experts.end(), {0, has("router:twice") ? 0 : 1});
      routing.weights.insert(routing.weights.end(), {1.0F, has("router:weight") ? 0.0F / 0.0F : 0.5F});
    }
    if (has("router:range")) routing.experts.back() = context.rule.experts;
    if (has("router:count")) routing.weights.pop_back();
    if (has("router:per_row")) routing.per_row = -1;
    return routing;
  }
  bool row_independent() const override { return true; }
};

struct FaultyExit final : ExitPolicy {
  using Options = NoOptions;
  FaultyExit(const Options&, const BuildContext&) {}
  std::vector<int> layers(int num_layers) const override {
    if (has("exit:range")) return {1, num_layers};
    if (has("exit:order")) return {2, 1};
    if (has("exit:first")) return {0};
    return {1};
  }
  ExitWants wants() const override {
    ExitWants wants;
    if (has("exit:token")) wants.tokens = {-4};
    return wants;
  }
  void decide(const ExitProbe&, std::span<char> leaves) override {
    misbehave("exit");
    std::fill(leaves.begin(), leaves.end(), 1);
  }
};

FORETELL_REGISTER(Drafter, FaultyDrafter, "faulty_drafter", {.summary = "drafts the token after the last one"});
FORETELL_REGISTER(Verifier, FaultyVerifier, "faulty_verifier",
                  {.summary = "accepts what the target would say", .lossless = true});
FORETELL_REGISTER(DraftPolicy, FaultyPolicy, "faulty_policy", {.summary = "leaves budgets as they are"});
FORETELL_REGISTER(TreePolicy, FaultyTree, "faulty_tree", {.summary = "two children each"});
FORETELL_REGISTER(AttentionPolicy, FaultyAttention, "faulty_attention", {.summary = "sees one row"});
FORETELL_REGISTER(Router, FaultyRouter, "faulty_router", {.summary = "the first two experts"});
FORETELL_REGISTER(ExitPolicy, FaultyExit, "faulty_exit", {.summary = "all rows leave at once"});

const bool kLoaded = [] {
  if (has("library:throw")) throw 5;
  return true;
}();

}  // namespace
