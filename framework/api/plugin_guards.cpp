#include "framework/api/plugin_guards.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "framework/api/attention_policy.h"
#include "framework/api/contract.h"
#include "framework/api/drafter.h"
#include "framework/api/exit_policy.h"
#include "framework/api/policy.h"
#include "framework/api/router.h"
#include "framework/api/verifier.h"
#include "framework/core/plugin_call.h"
#include "framework/core/text.h"

namespace foretell {
namespace {

std::set<std::string>& trusted() {
  static std::set<std::string> labels;
  return labels;
}

// The strategy and its name; destructors of plug-ins are calls, too.
template <class Interface>
class Guarded {
 public:
  Guarded(PluginStrategy who, std::unique_ptr<Interface> strategy)
      : who_(std::move(who)), strategy_(std::move(strategy)) {}
  ~Guarded() {
    const PluginCall call(who_, "its destructor");
    strategy_.reset();
  }

  template <class F>
  decltype(auto) call(std::string_view what, F&& f) const {
    return call_plugin(who_, what, [&]() -> decltype(auto) { return f(*strategy_); });
  }
  const PluginStrategy& who() const { return who_; }

 private:
  PluginStrategy who_;
  std::unique_ptr<Interface> strategy_;
};

DraftBudget checked_limits(const DraftBudget& limits) {
  check_limits(limits);
  return limits;
}

class GuardedDrafter final : public Drafter {
 public:
  GuardedDrafter(const PluginStrategy& who, std::unique_ptr<Drafter> drafter)
      : inner_(who, std::move(drafter)),
        passes_over_entries_(!trusted().contains(fmt::format("{} '{}'", who.kind, who.name))) {}

  DraftBudget limits() const override {
    return inner_.call("limits()", [](Drafter& d) { return checked_limits(d.limits()); });
  }
  DraftForm form() const override {
    return inner_.call("form()", [](Drafter& d) { return d.form(); });
  }
  HiddenStateRequest required_hidden_states() const override {
    return inner_.call("required_hidden_states()", [](Drafter& d) { return d.required_hidden_states(); });
  }
  DrafterTraits traits() const override {
    return inner_.call("traits()", [](Drafter& d) { return d.traits(); });
  }
  void check(const Request& request) const override {
    inner_.call("check()", [&](const Drafter& d) { d.check(request); });
  }
  void begin(SlotId slot, const PromptView& prompt) override {
    inner_.call("begin()", [&](Drafter& d) { d.begin(slot, prompt); });
  }
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override {
    inner_.call("observe_prompt()", [&](Drafter& d) { d.observe_prompt(slot, chunk); });
  }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    return inner_.call("draft()", [&](Drafter& d) {
      std::vector<DraftTree> drafts = d.draft(batch);
      check_drafts(drafts, batch);
      const DraftForm form = d.form();
      for (const DraftTree& draft : drafts) {
        check_form(draft, form);
        if (passes_over_entries_) check_entries(draft);
        check_sums(draft);
      }
      return drafts;
    });
  }
  void observe(std::span<const RoundView> rounds) override {
    inner_.call("observe()", [&](Drafter& d) { d.observe(rounds); });
  }
  void end(SlotId slot) override {
    inner_.call("end()", [&](Drafter& d) { d.end(slot); });
  }

 private:
  Guarded<Drafter> inner_;
  bool passes_over_entries_;
};

class GuardedVerifier final : public Verifier {
 public:
  GuardedVerifier(const PluginStrategy& who, std::unique_ptr<Verifier> verifier) : inner_(who, std::move(verifier)) {}

  Verdict verify(const DraftTree& draft, Scores& scores, Rng& rng) const override {
    return inner_.call("verify()", [&](Verifier& v) {
      Verdict verdict = v.verify(draft, scores, rng);
      check_verdict(draft, verdict, std::numeric_limits<int>::max());  // the loop knows the vocabulary
      return verdict;
    });
  }
  std::optional<std::string> unsupported_reason(const DraftForm& form, const SamplingOptions& sampling) const override {
    return inner_.call("unsupported_reason()", [&](Verifier& v) { return v.unsupported_reason(form, sampling); });
  }

 private:
  Guarded<Verifier> inner_;
};

class GuardedDraftPolicy final : public DraftPolicy {
 public:
  GuardedDraftPolicy(const PluginStrategy& who, std::unique_ptr<DraftPolicy> policy) : inner_(who, std::move(policy)) {}

  void plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) override {
    inner_.call("plan()", [&](DraftPolicy& p) {
      p.plan(batch, budgets);
      for (const DraftBudget& budget : budgets) check_budget(budget);
    });
  }
  bool should_continue(const DraftStep& step) override {
    return inner_.call("should_continue()", [&](DraftPolicy& p) { return p.should_continue(step); });
  }
  bool wants_probs() const override {
    return inner_.call("wants_probs()", [](DraftPolicy& p) { return p.wants_probs(); });
  }
  bool wants_hidden_states() const override {
    return inner_.call("wants_hidden_states()", [](DraftPolicy& p) { return p.wants_hidden_states(); });
  }
  void observe(std::span<const RoundRecord> records) override {
    inner_.call("observe()", [&](DraftPolicy& p) { p.observe(records); });
  }

 private:
  Guarded<DraftPolicy> inner_;
};

class GuardedTreePolicy final : public TreePolicy {
 public:
  GuardedTreePolicy(const PluginStrategy& who, std::unique_ptr<TreePolicy> policy) : inner_(who, std::move(policy)) {}

  DraftBudget limits() const override {
    return inner_.call("limits()", [](TreePolicy& p) { return checked_limits(p.limits()); });
  }
  bool wants_probs() const override {
    return inner_.call("wants_probs()", [](TreePolicy& p) { return p.wants_probs(); });
  }
  std::optional<int> beam() const override {
    return inner_.call("beam()", [](TreePolicy& p) {
      const std::optional<int> beam = p.beam();
      FORETELL_CONTRACT(beam.value_or(1) >= 1, "beam() is {}, expected at least 1", *beam);
      return beam;
    });
  }
  std::vector<int> expand(const Frontier& frontier) override {
    return inner_.call("expand()", [&](TreePolicy& p) {
      std::vector<int> widths = p.expand(frontier);
      check_widths(frontier, widths);
      return widths;
    });
  }
  int grown_nodes() const override {
    return inner_.call("grown_nodes()", [](TreePolicy& p) {
      const int nodes = p.grown_nodes();
      FORETELL_CONTRACT(nodes >= p.limits().nodes && nodes <= DraftTree::kMostNodes,
                        "grown_nodes() is {}, expected {} (limits().nodes) to {}", nodes, p.limits().nodes,
                        DraftTree::kMostNodes);
      return nodes;
    });
  }
  std::vector<NodeId> select(const DraftTree& draft, std::span<const double> path_probability, int nodes) override {
    return inner_.call("select()", [&](TreePolicy& p) {
      std::vector<NodeId> kept = p.select(draft, path_probability, nodes);
      check_selection(draft, kept, nodes);
      FORETELL_CONTRACT(!kept.empty() || draft.size() - 1 <= nodes,
                        "select() kept all of the {} that were grown, {} are allowed",
                        counted(draft.size() - 1, "node"), nodes);
      return kept;
    });
  }

 private:
  Guarded<TreePolicy> inner_;
};

void check_visible(const AttentionView& view, const KvSelection& visible) {
  const auto lists = static_cast<std::size_t>(visible.per_head ? std::max(view.kv_heads, 1) : 1);
  FORETELL_CONTRACT(visible.rows.size() % lists == 0, "select_kv() returned {} for {}: expected lists of one length",
                    counted(visible.rows.size(), "row"), counted(lists, "key head"));
  const std::size_t length = visible.rows.size() / lists;
  for (std::size_t i = 0; i < visible.rows.size(); ++i) {
    const int row = visible.rows[i];
    FORETELL_CONTRACT(row >= 0 && row < view.cached,
                      "select_kv() returned row {}, the cache holds {} below the item's own", row, view.cached);
    FORETELL_CONTRACT(i % length == 0 || visible.rows[i - 1] < row,
                      "select_kv() returned row {} after row {}, expected increasing rows", row, visible.rows[i - 1]);
  }
}

class GuardedAttentionPolicy final : public AttentionPolicy {
 public:
  GuardedAttentionPolicy(const PluginStrategy& who, std::unique_ptr<AttentionPolicy> policy)
      : inner_(who, std::move(policy)) {}

  std::unique_ptr<AttentionPolicy> fresh() const override {
    return inner_.call("fresh()", [&](AttentionPolicy& p) -> std::unique_ptr<AttentionPolicy> {
      std::unique_ptr<AttentionPolicy> made = p.fresh();
      FORETELL_CONTRACT(made, "fresh() returned no policy");
      return std::make_unique<GuardedAttentionPolicy>(inner_.who(), std::move(made));
    });
  }
  KvSelection select_kv(const AttentionView& view) override {
    return inner_.call("select_kv()", [&](AttentionPolicy& p) {
      KvSelection rows = p.select_kv(view);
      check_visible(view, rows);
      return rows;
    });
  }
  bool wants_weights() const override {
    return inner_.call("wants_weights()", [](AttentionPolicy& p) { return p.wants_weights(); });
  }
  void observe(const AttentionWeights& weights) override {
    inner_.call("observe()", [&](AttentionPolicy& p) { p.observe(weights); });
  }
  void keep(int base, std::span<const int> rows) override {
    inner_.call("keep()", [&](AttentionPolicy& p) { p.keep(base, rows); });
  }

 private:
  Guarded<AttentionPolicy> inner_;
};

void check_routing(const RouterRows& rows, const RouterContext& context, const Routing& routing) {
  FORETELL_CONTRACT(routing.per_row >= 0 && routing.per_row <= context.rule.experts,
                    "route() gave {} for a row, the layer has {}", counted(routing.per_row, "entry", "entries"),
                    counted(context.rule.experts, "expert"));
  const auto per_row = static_cast<std::size_t>(routing.per_row);
  const std::size_t count = static_cast<std::size_t>(rows.rows) * per_row;
  FORETELL_CONTRACT(routing.experts.size() == count && routing.weights.size() == count,
                    "route() returned {} and {} for {} with {} each", counted(routing.experts.size(), "expert"),
                    counted(routing.weights.size(), "weight"), counted(rows.rows, "row"), routing.per_row);
  for (std::size_t i = 0; i < count; ++i) {
    const int expert = routing.experts[i];
    FORETELL_CONTRACT(expert >= -1 && expert < context.rule.experts, "route() returned expert {}, the layer has {}",
                      expert, counted(context.rule.experts, "expert"));
    FORETELL_CONTRACT(expert < 0 || std::isfinite(routing.weights[i]), "route() returned the weight {} for expert {}",
                      routing.weights[i], expert);
    const auto first = routing.experts.begin() + static_cast<std::ptrdiff_t>(i - i % per_row);
    const auto here = routing.experts.begin() + static_cast<std::ptrdiff_t>(i);
    FORETELL_CONTRACT(expert < 0 || std::find(first, here, expert) == here, "route() sent row {} to expert {} twice",
                      i / per_row, expert);
  }
}

class GuardedRouter final : public Router {
 public:
  GuardedRouter(const PluginStrategy& who, std::unique_ptr<Router> router) : inner_(who, std::move(router)) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    return inner_.call("route()", [&](Router& r) {
      Routing routing = r.route(rows, context);
      check_routing(rows, context, routing);
      return routing;
    });
  }
  bool row_independent() const override {
    return inner_.call("row_independent()", [](Router& r) { return r.row_independent(); });
  }
  std::optional<std::string> unsupported_reason(const ExpertRule& rule) const override {
    return inner_.call("unsupported_reason()", [&](Router& r) { return r.unsupported_reason(rule); });
  }

 private:
  Guarded<Router> inner_;
};

std::vector<int> checked_exits(std::vector<int> layers, int num_layers) {
  for (std::size_t i = 0; i < layers.size(); ++i)
    FORETELL_CONTRACT(layers[i] > (i == 0 ? 0 : layers[i - 1]) && layers[i] < num_layers,
                      "layers() returned {}{}, expected increasing numbers from 1 to {}", layers[i],
                      i == 0 ? std::string() : fmt::format(" after {}", layers[i - 1]), num_layers - 1);
  return layers;
}

class GuardedExitPolicy final : public ExitPolicy {
 public:
  GuardedExitPolicy(const PluginStrategy& who, std::unique_ptr<ExitPolicy> policy) : inner_(who, std::move(policy)) {}

  std::vector<int> layers(int num_layers) const override {
    return inner_.call("layers()", [&](ExitPolicy& p) { return checked_exits(p.layers(num_layers), num_layers); });
  }
  ExitWants wants() const override {
    return inner_.call("wants()", [](ExitPolicy& p) {
      ExitWants wants = p.wants();
      for (const Token token : wants.tokens)
        FORETELL_CONTRACT(token >= 0, "wants() returned token {}, expected a token id", token);
      return wants;
    });
  }
  void decide(const ExitProbe& probe, std::span<char> leaves) override {
    inner_.call("decide()", [&](ExitPolicy& p) { p.decide(probe, leaves); });
  }
  void observe(std::span<const ExitRecord> records) override {
    inner_.call("observe()", [&](ExitPolicy& p) { p.observe(records); });
  }
  bool row_independent() const override {
    return inner_.call("row_independent()", [](ExitPolicy& p) { return p.row_independent(); });
  }

 private:
  Guarded<ExitPolicy> inner_;
};

}  // namespace

void trust_distributions_of(const std::string& label) { trusted().insert(label); }

#define FORETELL_DEFINE_GUARD(Interface)                                                       \
  template <>                                                                                  \
  std::unique_ptr<Interface> Registry<Interface>::guard(const PluginStrategy& who,             \
                                                        std::unique_ptr<Interface> strategy) { \
    return std::make_unique<Guarded##Interface>(who, std::move(strategy));                     \
  }

FORETELL_DEFINE_GUARD(Drafter)
FORETELL_DEFINE_GUARD(Verifier)
FORETELL_DEFINE_GUARD(DraftPolicy)
FORETELL_DEFINE_GUARD(TreePolicy)
FORETELL_DEFINE_GUARD(AttentionPolicy)
FORETELL_DEFINE_GUARD(Router)
FORETELL_DEFINE_GUARD(ExitPolicy)

}  // namespace foretell
