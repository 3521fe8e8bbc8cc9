#include "experiments/cli/commands/strategies/plugin_templates.h"

#include <array>
#include <cctype>
#include <string_view>
#include <utility>

#include "framework/api/attention_policy.h"
#include "framework/api/exit_policy.h"
#include "framework/core/error.h"

namespace foretell::cli::commands::strategies {
namespace {

constexpr std::string_view kDrafter =
    R"code(// Proposes what followed the newest token when it last occurred, then what followed that one, and so on.
//
// What a drafter promises (framework/api/drafter.h):
//  - The draft stays within context.budget: at most budget.nodes tokens, none deeper than budget.depth. An empty draft is always allowed.
//  - Each token says how it came about. choose() is for tokens that are a function of the text so far: a point mass. A token that was drawn goes
//    in with propose(parent, token, distribution), and the distribution is the one that it was really drawn from; draw through context.rng only.
//  - Stopping after a drawn token is fine. Leaving a drawn token out because of what it is changes the distribution of the output.
//  - Siblings have distinct tokens, and tokens lie in [0, context.vocab).
//  - A distribution is given as probabilities: their sum is 1 within 0.001, none is negative.
#include <algorithm>
#include <unordered_map>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"

namespace foretell {
namespace {

// One object for each sequence. It holds at most one entry for each token of the vocabulary.
class %Name%Sequence final : public SequenceDrafter {
 public:
  explicit %Name%Sequence(int tokens) : tokens_(tokens) {}

  DraftTree draft(const DraftContext& context) override {
    // The text only grows: what is new since the last round is learned now. The last committed token is the anchor, where the draft starts.
    for (; learned_ + 1 < context.committed.size(); ++learned_) next_[context.committed[learned_]] = context.committed[learned_ + 1];
    DraftTree tree(context.committed.back());
    NodeId at = kAnchor;
    Token token = context.committed.back();
    for (int i = 0; i < std::min({tokens_, context.budget.depth, context.budget.nodes}); ++i) {
      const auto next = next_.find(token);
      if (next == next_.end()) break;
      token = next->second;
      at = tree.choose(at, token, context.vocab);
    }
    return tree;
  }

 private:
  int tokens_;
  std::size_t learned_ = 0;
  std::unordered_map<Token, Token> next_;
};

class %Name%Drafter final : public PerSequenceDrafter {
 public:
  // Read from `drafter: {type: %name%, num_speculative_tokens: 4}`, and listed by `foretell list`.
  struct Options {
    int num_speculative_tokens = 4;
    void declare(Parameters& p) {
      p.add("num_speculative_tokens", num_speculative_tokens, "tokens drafted a round", {.min = 1, .max = 64});
    }
  };
  %Name%Drafter(const Options& options, const BuildContext&) : options_(options) {}

  // The most that is drafted: nodes, depth, nodes of one depth. A policy may ask for less.
  DraftBudget limits() const override { return {options_.num_speculative_tokens, options_.num_speculative_tokens, 1}; }
  // Which kinds of proposals there are, so that a verifier that cannot judge them is refused before the run.
  DraftForm form() const override { return {.point_mass = true}; }

 private:
  std::unique_ptr<SequenceDrafter> open(const PromptView&) override {
    return std::make_unique<%Name%Sequence>(options_.num_speculative_tokens);
  }

  Options options_;
};

// Where a paper describes it: .paper = {"Doe et al.", 2026, "2601.01234"}, .also_known_as = {"its name there"}; `foretell list` shows both.
FORETELL_REGISTER(Drafter, %Name%Drafter, "%name%", {.summary = "proposes what followed the newest token when it last occurred"});

}  // namespace
}  // namespace foretell
)code";

constexpr std::string_view kVerifier =
    R"code(// Exact match: the target's token is drawn first, and the draft is kept as far as it has that token.
//
// What a verifier promises (framework/api/verifier.h):
//  - It is const and holds no state; all randomness comes from the Rng.
//  - The verdict is a path of proposed nodes from the anchor down, then one token of the target's own.
//  - Registered with .lossless = true, what is emitted has the target's distribution whatever was drafted; `foretell certify` proves it or shows where it
//    fails. Here the token that was drawn is emitted whether it was proposed or not, and what is proposed does not depend on it.
//  - It asks for scores.distribution(node) only where its walk goes: a distribution that nobody asks for is never computed.
#include "framework/api/build_context.h"
#include "framework/api/rejection_walk.h"

namespace foretell {
namespace {

// WalkVerifier walks down from the anchor and asks decide() at every node that has proposals. One that judges whole paths derives from Verifier.
class %Name%Verifier final : public WalkVerifier {
 public:
  using Options = NoOptions;
  %Name%Verifier(const Options&, const BuildContext&) {}

  // Drawn proposals could be accepted more often by their distributions, so such drafts are left to verifiers that look at these.
  std::optional<std::string> unsupported_reason(const DraftForm& form, const SamplingOptions&) const override {
    if (form.independent || form.without_replacement) return "it judges chosen tokens only; for drawn ones: rejection, traversal";
    return std::nullopt;
  }

 private:
  Decision decide(const DraftTree& draft, NodeId at, Scores& scores, Rng& rng) const override {
    return match(draft, at, scores.distribution(at).draw(rng));
  }
};

FORETELL_REGISTER(Verifier, %Name%Verifier, "%name%",
                  {.summary = "draws the target's token and keeps the draft as far as it has it; chosen tokens only", .lossless = true});

}  // namespace
}  // namespace foretell
)code";

constexpr std::string_view kPolicy = R"code(// Drafts to the same depth every round.
//
// What a policy promises (framework/api/policy.h):
//  - plan() is called once a round for the whole batch. Budgets arrive filled with the drafter's limits; they may be lowered or raised, and are
//    clipped afterwards to what is left of tokens, positions and cache.
//  - should_continue(), which this policy does not have, is asked before each level. It may stop a draft after a token was drawn and can never drop one.
//  - observe(), not here either, gets the records of the round, in the order in which plan() saw the batch. A policy that learns from other prompts
//    is registered with .stateful = true, one that looks at measured time with .uses_wall_clock = true.
#include "framework/api/build_context.h"
#include "framework/api/policy.h"

namespace foretell {
namespace {

class %Name%Policy final : public DraftPolicy {
 public:
  // Read from `policy: {type: %name%, depth: 2}`, and listed by `foretell list`.
  struct Options {
    int depth = 2;
    void declare(Parameters& p) { p.add("depth", depth, "of every draft; 0 drafts nothing", {.min = 0, .max = 64}); }
  };
  %Name%Policy(const Options& options, const BuildContext&) : options_(options) {}

  void plan(std::span<const PolicyView>, std::span<DraftBudget> budgets) override {
    for (DraftBudget& budget : budgets) budget.depth = options_.depth;
  }

 private:
  Options options_;
};

FORETELL_REGISTER(DraftPolicy, %Name%Policy, "%name%", {.summary = "drafts to the same depth every round"});

}  // namespace
}  // namespace foretell
)code";

constexpr std::string_view kTree =
    R"code(// A chain: one child for every node, down to a depth. More children make a tree.
//
// What a tree policy promises (framework/api/policy.h):
//  - It holds no state of a sequence: what it decides depends on the draft alone.
//  - limits() is the most that it ever asks for: nodes besides the anchor, depth, nodes of one depth.
//  - expand() says how many children each node of the frontier gets, one number for each; 0 ends it. The drafter cuts the total at nodes_left.
//    Whether a node gets children may depend on its own token, since that was drawn before. How many children are worth it may depend on
//    path_probability and distribution, if wants_probs() says that these are wanted.
//  - select(), which this one does not have, chooses among finished nodes and is only called where all tokens were chosen, not drawn.
#include "framework/api/build_context.h"
#include "framework/api/policy.h"

namespace foretell {
namespace {

class %Name%Tree final : public TreePolicy {
 public:
  // Read from `tree: {type: %name%, depth: 3}`, and listed by `foretell list`.
  struct Options {
    int depth = 3;
    void declare(Parameters& p) { p.add("depth", depth, "of the chain", {.min = 1, .max = 64}); }
  };
  %Name%Tree(const Options& options, const BuildContext&) : options_(options) {}

  DraftBudget limits() const override { return {options_.depth, options_.depth, 1}; }
  std::vector<int> expand(const Frontier& frontier) override {
    return std::vector<int>(frontier.nodes.size(), frontier.depth <= options_.depth ? 1 : 0);
  }

 private:
  Options options_;
};

FORETELL_REGISTER(TreePolicy, %Name%Tree, "%name%", {.summary = "a chain down to a depth"});

}  // namespace
}  // namespace foretell
)code";

constexpr std::string_view kAttention =
    R"code(// The newest positions of the cache.
//
// What an attention policy promises (framework/api/attention_policy.h):
//  - One object belongs to one sequence. fresh() makes one for another sequence, with the same options and nothing remembered.
//  - select_kv() is asked in every layer of a forward: rows of [0, view.cached), strictly increasing; row r is position r of the text. The rows of
//    the draft itself are always seen. With per_head there is one list for each of view.kv_heads, one after the other and of one length.
//  - Nothing is deleted: what is passed over now may be seen in the next forward.
//  - observe(), which this one does not have, gets the attention weights if wants_weights() says so, and keep() which rows the cache has kept.
#include <algorithm>

#include "framework/api/attention_policy.h"
#include "framework/api/build_context.h"

namespace foretell {
namespace {

class %Name%Attention final : public AttentionPolicy {
 public:
  // Read from `attention: {type: %name%, window: 64}`, and listed by `foretell list`.
  struct Options {
    int window = 64;
    void declare(Parameters& p) { p.add("window", window, "newest positions that are seen", {.min = 0, .max = 1 << 30}); }
  };
  %Name%Attention(const Options& options, const BuildContext&) : options_(options) {}

  std::unique_ptr<AttentionPolicy> fresh() const override { return std::make_unique<%Name%Attention>(*this); }

  KvSelection select_kv(const AttentionView& view) override {
    KvSelection seen;
    for (int row = std::max(0, view.cached - options_.window); row < view.cached; ++row) seen.rows.push_back(row);
    return seen;
  }

 private:
  Options options_;
};

FORETELL_REGISTER(AttentionPolicy, %Name%Attention, "%name%", {.summary = "the newest positions"});

}  // namespace
}  // namespace foretell
)code";

constexpr std::string_view kRouter =
    R"code(// The best expert, and a second one if it scores nearly as high.
//
// What a router promises (framework/api/router.h):
//  - It is const and may be shared by sequences; route() is asked once a layer for the rows of all sequences of a forward.
//  - Of each row it gives `per_row` experts, distinct, or -1 for none, and how much each counts.
//  - Where row_independent() is true, a row's experts depend on nothing but that row: its logits, position and token. Otherwise a draft cannot be
//    verified without loss, and runs say so. `foretell certify --router` compares rows alone, in a batch and in a draft tree.
//  - unsupported_reason() says before a run why it cannot be used with a checkpoint's experts.
#include "framework/api/build_context.h"
#include "framework/api/router.h"

namespace foretell {
namespace {

class %Name%Router final : public Router {
 public:
  // Read from `router: {type: %name%, share: 0.5}`, and listed by `foretell list`.
  struct Options {
    double share = 0.5;
    void declare(Parameters& p) { p.add("share", share, "of the best score that a second expert needs", {.min = 0, .max = 1}); }
  };
  %Name%Router(const Options& options, const BuildContext&) : options_(options) {}

  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    Routing routing{.per_row = 2};
    for (int row = 0; row < rows.rows; ++row) {
      const std::vector<double> scores = gate_scores(rows.row(row, context.rule.experts), GateScore::Softmax);
      const std::vector<int> best = best_experts(scores, 2);
      const double first = scores[best[0]], second = scores[best[1]];
      const bool both = second >= options_.share * first;
      routing.experts.insert(routing.experts.end(), {best[0], both ? best[1] : -1});
      const double sum = both ? first + second : first;
      routing.weights.insert(routing.weights.end(), {static_cast<float>(first / sum), static_cast<float>(second / sum)});
    }
    return routing;
  }
  bool row_independent() const override { return true; }

  std::optional<std::string> unsupported_reason(const ExpertRule& rule) const override {
    if (rule.experts < 2) return "it needs two experts";
    return std::nullopt;
  }

 private:
  Options options_;
};

FORETELL_REGISTER(Router, %Name%Router, "%name%", {.summary = "the best expert, and a second one that is nearly as good"});

}  // namespace
}  // namespace foretell
)code";

constexpr std::string_view kExit =
    R"code(// Rows leave once the head is sure of their token, at layers that are named.
//
// What an exit policy promises (framework/api/exit_policy.h):
//  - layers() names where it is asked, in a model of num_layers: increasing numbers from 1 to num_layers - 1. Elsewhere it costs nothing.
//  - required_hidden_states() names what it looks at there. Logits cost the model's head for every row; what it does not look at is not computed.
//  - decide() is asked about all rows of the batch that have come so far, and sets leaves[i] for those that leave. Whether a row leaves depends
//    on nothing but that row, unless row_independent() says otherwise.
#include <algorithm>
#include <cmath>

#include "framework/api/build_context.h"
#include "framework/api/exit_policy.h"

namespace foretell {
namespace {

class %Name%Exit final : public ExitPolicy {
 public:
  // Read from `exit: {type: %name%, threshold: 0.9}`, and listed by `foretell list`.
  struct Options {
    double threshold = 0.9;
    void declare(Parameters& p) { p.add("threshold", threshold, "probability of the most probable token; 1: never", {.min = 0, .max = 1}); }
  };
  %Name%Exit(const Options& options, const BuildContext&) : options_(options) {}

  std::vector<int> layers(int num_layers) const override {
    if (num_layers < 2) return {};
    return {num_layers / 2};
  }
  ExitWants wants() const override { return {.logits = true}; }

  void decide(const ExitProbe& probe, std::span<char> leaves) override {
    for (std::size_t i = 0; i < probe.rows.size(); ++i) {
      const std::span<const float> logits = probe.of(probe.logits, i);
      const float highest = *std::max_element(logits.begin(), logits.end());
      double sum = 0;
      for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
      leaves[i] = options_.threshold < 1 && 1 / sum >= options_.threshold;
    }
  }

 private:
  Options options_;
};

FORETELL_REGISTER(ExitPolicy, %Name%Exit, "%name%", {.summary = "rows leave in the middle once the head is sure"});

}  // namespace
}  // namespace foretell
)code";

constexpr std::string_view kCMake = R"code(cmake_minimum_required(VERSION 3.25)
project(foretell_%name% CXX)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# CMAKE_PREFIX_PATH names the folder that Foretell was installed to. A strategy that uses tensors asks for COMPONENTS torch and links Foretell::torch.
find_package(Foretell REQUIRED%hints%)
add_library(foretell_%name% MODULE %name%.cpp)
target_link_libraries(foretell_%name% PRIVATE Foretell::framework)
# A function that nobody defines is told when the plug-in is linked, not when it is loaded.
target_link_options(foretell_%name% PRIVATE LINKER:--no-undefined)
set_target_properties(foretell_%name% PROPERTIES OUTPUT_NAME %name% LIBRARY_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}")
)code";

constexpr std::string_view kReadme = R"code(# %name%

%A_kind% for Foretell, in `%name%.cpp`. The comment at its top says what it promises.

%build%

```sh
cmake -B build%prefix% && cmake --build build
```

List it, with its parameters:

```sh
foretell list %plural% --plugin build/lib%name%.so
```

Run it%with% (a study names it with `plugins: [build/lib%name%.so]`):

```sh
foretell generate --plugin build/lib%name%.so --model DIR --prompt "one two one two one" %use% --show-rounds
```
%certify%
What it promises is checked in every call. A run that ends with "%label% '%name%' of plug-in lib%name%.so broke its contract in ... at step 3 of prompt q81: ..."
names the method, the round (from 0) and the rule; what was finished is kept. docs/guide/plugins.md of Foretell lists the rules.

After Foretell was built again with other interfaces the plug-in is refused; the first command builds it again.
)code";

constexpr std::string_view kCertify = R"code(
Certify that the output keeps the target's distribution, by exact enumeration:

```sh
foretell certify --plugin build/lib%name%.so %certified%
```
)code";

// What differs between the kinds.
struct PluginKind {
  std::string kind, plural;
  std::string_view source;
  std::string use, certified;  // arguments; `certified` is empty where there is nothing to certify
};

const std::array<PluginKind, 7>& kinds() {
  static const std::array<PluginKind, 7> all = {
      {{"drafter", "drafters", kDrafter, "--drafter %name%", "--drafter %name%"},
       {"verifier", "verifiers", kVerifier, "--drafter prompt_lookup --verifier %name%", "--verifier %name%"},
       {"policy", "policies", kPolicy, "--drafter prompt_lookup --set policy.type=%name%", ""},
       {"tree", "trees", kTree, "--draft-model DIR --set tree.type=%name%", ""},
       {"attention", "attention", kAttention, "--drafter sparse_cache --set drafter.attention.type=%name%",
        "--attention '{type: %name%, window: 1}'"},
       {"router", "routers", kRouter, "--set target.router.type=%name%", "--router %name%"},
       {"exit", "exits", kExit, "--set target.exit.type=%name%", "--exit '{type: %name%, threshold: 0.1}'"}}};
  return all;
}

// "my_first" -> "MyFirst", for the names of classes.
std::string camel_case(const std::string& name) {
  std::string out;
  bool upper = true;
  for (const char c : name) {
    if (c == '_') {
      upper = true;
      continue;
    }
    out += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    upper = false;
  }
  return out;
}

using Replacements = std::vector<std::pair<std::string, std::string>>;

// In the order given, so that a value may hold placeholders that come after it.
std::string filled(std::string_view text, const Replacements& values) {
  std::string out(text);
  for (const auto& [placeholder, value] : values)
    for (std::size_t at = out.find(placeholder); at != std::string::npos; at = out.find(placeholder, at + value.size()))
      out.replace(at, placeholder.size(), value);
  return out;
}

std::string with_capital(std::string text) {
  text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

// What a registry calls its strategies in messages.
std::string label_of(const std::string& kind) {
  if (kind == "attention") return Registry<AttentionPolicy>::kind();
  return kind == "exit" ? Registry<ExitPolicy>::kind() : kind;
}

}  // namespace

std::string a_kind(const std::string& kind) {
  return with_article(kind == "attention" || kind == "exit" ? kind + " policy" : kind);
}

const std::vector<std::string>& plugin_kinds() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const PluginKind& kind : kinds()) out.push_back(kind.kind);
    return out;
  }();
  return names;
}

std::vector<TemplateFile> plugin_template(const std::string& kind, const std::string& name, const std::string& prefix) {
  for (const PluginKind& known : kinds()) {
    if (known.kind != kind) continue;
    const Replacements values = {
        {"%certify%", known.certified.empty() ? "" : std::string(kCertify)},
        {"%with%", known.kind == "router" ? " on a mixture of experts" : ""},
        {"%use%", known.use},
        {"%certified%", known.certified},
        {"%A_kind%", with_capital(a_kind(known.kind))},
        {"%label%", label_of(known.kind)},
        {"%plural%", known.plural},
        {"%hints%", prefix.empty() ? "" : fmt::format(" HINTS \"{}\"", prefix)},
        {"%build%", prefix.empty() ? "Build, PREFIX being the folder that Foretell was installed to:" : "Build:"},
        {"%prefix%", prefix.empty() ? " -DCMAKE_PREFIX_PATH=PREFIX" : ""},
        {"%Name%", camel_case(name)},
        {"%name%", name}};
    return {{"CMakeLists.txt", filled(kCMake, values)},
            {name + ".cpp", filled(known.source, values)},
            {"README.md", filled(kReadme, values)}};
  }
  throw Error(unknown_name_message("kind", kind, plugin_kinds()));
}

}  // namespace foretell::cli::commands::strategies
