// What a plug-in's strategies can do wrong, and who is named. faulty_plugin.cpp is compiled into this file as if it had
// been loaded; what ends a process is in tests/cli/plugin_faults_test.py.
#include "framework/api/plugin_guards.h"

#include <cstdlib>

#include "experiments/certify/certificate.h"
#include "experiments/certify/toy_pipeline.h"
#include "framework/api/contract.h"
#include "framework/api/rejection_walk.h"
#include "framework/core/plugin_call.h"
#include "tests/support/catch.h"

namespace {
std::vector<foretell::PendingStrategy> pending_of_faulty;
const bool redirected = (foretell::pending_strategies() = &pending_of_faulty, true);
}  // namespace

#include "tests/cli/faulty_plugin.cpp"

namespace {
const bool directed_back = (foretell::pending_strategies() = nullptr, true);
}

namespace foretell::testing {
namespace {

const std::string kDrafterOf = "drafter 'faulty_drafter' of plug-in libfaulty.so ";

struct Parts {
  std::string drafter = "faulty_drafter", verifier = "faulty_verifier", tree = "", policy = "faulty_policy";
  double temperature = 0;
};

certify::Setup setup_of(const Parts& parts) {
  static const bool loaded = [] {
    for (const PendingStrategy& strategy : pending_of_faulty) strategy.add("libfaulty.so");
    return true;
  }();
  static_cast<void>(loaded);
  return certify::toy_setup(parts.drafter, parts.verifier, parts.tree, certify::toy_target(11), {.yaml = parts.policy});
}

struct Fault {
  explicit Fault(const char* name) { ::setenv("FAULTY", name, 1); }
  ~Fault() { ::unsetenv("FAULTY"); }
};

// What the run ends with; "" if it ends well.
std::string ends_with(const char* name, const Parts& parts = {}, int batch = 1) {
  std::vector<Request> requests;
  for (int i = 0; i < batch; ++i) {
    Request request{.id = static_cast<std::uint64_t>(i),
                    .prompt = {1, 2, 3},
                    .max_new_tokens = 8,
                    .name = fmt::format("q8{}", i + 1)};
    request.sampling.temperature = parts.temperature;
    requests.push_back(request);
  }
  const certify::Setup setup = setup_of(parts);
  const Fault fault(name);
  try {
    certify::run(setup, requests, {.batch = batch});
  } catch (const PluginError& error) {
    const std::string message = error.what();
    CHECK(message.find('\n') == std::string::npos);
    return message;
  } catch (const std::exception& error) {
    return fmt::format("no PluginError: {}", error.what());
  }
  return "";
}

TEST_CASE("strategies of a plug-in that keep their contracts run, whatever they are part of", "[plugin]") {
  CHECK(ends_with("none") == "");
  CHECK(ends_with("none", {.drafter = "model", .tree = "faulty_tree"}) == "");
  CHECK(ends_with("none", {.drafter = "{type: sparse_cache, attention: faulty_attention}"}) == "");
  CHECK(ends_with("policy:huge") == "");
  CHECK(Registry<Drafter>::instance().make(ConfigValue::scalar("none"), {.vocab = 11})->label() == "drafter 'none'");
}

TEST_CASE("a drafter that breaks its contract is named, with step, prompt and rule", "[plugin]") {
  const std::string in_draft = kDrafterOf + "broke its contract in draft() at step 0 of prompt q81: ";
  const std::pair<const char*, const char*> rules[] = {
      {"drafter:count", "draft() returned 2 drafts for 1 sequence"},
      {"drafter:distributions_without_end", "a draft has more than 65536 distributions"},
      {"drafter:proposals_without_end", "a draft has more than 65536 proposals"},
      {"drafter:negative", "a proposal's distribution is none: token 10 has the probability -0.5"},
      {"drafter:sum", "the probabilities of a proposal's distribution sum to 0.75, expected 1 within 0.001"},
      {"drafter:two_vocabularies", "a distribution over 12 tokens beside one over 11"},
      {"drafter:sparse_order", "a proposal's distribution is none: token 4 follows token 5"},
      {"drafter:sparse_range", "a proposal's distribution is none: token 61 is outside the vocabulary of 11 tokens"},
      {"drafter:drawn_twice", "token 1 is proposed twice from one distribution, as draws without replacement"},
      {"drafter:not_chosen", "a chosen token needs a point mass, not a distribution over 11 tokens"},
      {"drafter:node_id", "node 99 is asked for, the draft has nodes 0 to 0"},
      {"drafter:prune", "node 12 is asked for, the draft has nodes 0 to 0"},
  };
  for (const auto& [fault, rule] : rules) CHECK(ends_with(fault) == in_draft + rule);
  for (const char* fault : {"drafter:limits_negative", "drafter:limits_huge"})
    CHECK_THAT(ends_with(fault), Catch::StartsWith(kDrafterOf + "broke its contract in limits()") &&
                                     Catch::Contains("expected 0 to 65536"));
}

TEST_CASE("whatever a plug-in throws leaves it as one line that names it", "[plugin]") {
  const std::string where = " in draft() at step 0 of prompt q81";
  CHECK(ends_with("drafter:throw_int") == kDrafterOf + "threw int, which is no std::exception," + where);
  CHECK(ends_with("drafter:throw_type") ==
        kDrafterOf + "threw (anonymous namespace)::Unknown, which is no std::exception," + where);
  CHECK(ends_with("drafter:throw_lines") == kDrafterOf + "threw std::runtime_error" + where + ": one two   three");
  CHECK(ends_with("drafter:throw_error") ==
        "a mistake of the user (" + kDrafterOf.substr(0, kDrafterOf.size() - 1) + where + ")");
  CHECK(ends_with("drafter:memory") == kDrafterOf + "ran out of memory" + where);
  CHECK_THAT(ends_with("drafter_observe:throw_int"),
             Catch::Contains("threw int") && Catch::Contains("in observe() at step 0 of prompt q81"));
  for (const char* kind : {"verifier", "policy", "tree", "attention"}) {
    const std::string fault = std::string(kind) + ":throw_int";
    const Parts attention{.drafter = "{type: sparse_cache, attention: faulty_attention}"},
        tree{.drafter = "model", .tree = "faulty_tree"};
    CHECK_THAT(ends_with(fault.c_str(), fault[0] == 'a'   ? attention
                                        : fault[0] == 't' ? tree
                                                          : Parts{}),
               Catch::StartsWith(fmt::format("{} 'faulty_{}' of plug-in libfaulty.so threw int",
                                             fault[0] == 'a' ? "sparse attention" : kind, kind)) &&
                   Catch::Contains("of prompt q81"));
  }
  CHECK_THAT(ends_with("policy:throw_in_go_on", {.drafter = "model"}),
             Catch::Contains("'faulty_policy'") && Catch::Contains("in should_continue()"));
}

TEST_CASE("constructors of a plug-in are named with the study's line", "[plugin]") {
  setup_of({});
  const auto message = [](const char* name) -> std::string {
    const Fault fault(name);
    try {
      Registry<Drafter>::instance().make(parse_yaml("\n{type: faulty_drafter}", "study.yaml"), {.vocab = 11});
    } catch (const PluginError& error) {
      return error.what();
    }
    return "";
  };
  const std::string who = "study.yaml:2: " + kDrafterOf;
  CHECK(message("constructor:throw_int") == who + "threw int, which is no std::exception, in its constructor");
  CHECK(message("constructor:throw_lines") == who + "threw std::runtime_error in its constructor: boom line two");
  CHECK(message("constructor:throw_error") ==
        "study.yaml:2: needs a file (" + kDrafterOf.substr(0, kDrafterOf.size() - 1) + " in its constructor)");
  CHECK(message("none") == "");
}

TEST_CASE("a verifier, a policy or a tree that breaks its contract is named", "[plugin]") {
  const std::string in_verify = "verifier 'faulty_verifier' of plug-in libfaulty.so broke its contract";
  const std::pair<const char*, const char*> verdicts[] = {
      {"verifier:no_path", "node 2 is accepted, the draft has nodes 1 to 1"},
      {"verifier:no_node", "node 77 is accepted, the draft has nodes 1 to 1"},
      {"verifier:anchor", "node 0 is accepted, the draft has nodes 1 to 1"},
      {"verifier:next", "the next token is 2000000000, the vocabulary has 11 tokens"},
      {"verifier:next_negative", "the next token is -1"},
      {"verifier:scores", "node 1000 is asked for, the draft has nodes 0 to 1"},
  };
  for (const auto& [fault, rule] : verdicts)
    CHECK_THAT(ends_with(fault),
               Catch::StartsWith(in_verify) && Catch::Contains("at step 0 of prompt q81: ") && Catch::Contains(rule));

  const std::string in_plan =
      "policy 'faulty_policy' of plug-in libfaulty.so broke its contract in plan() at step 0 of prompt q81: ";
  CHECK(ends_with("policy:negative") ==
        in_plan + "plan() gave a budget of -3 nodes, depth 4, width 1: none can be negative");
  CHECK(ends_with("policy:width") ==
        in_plan + "plan() gave a budget of 4 nodes, depth 4, width -2147483648: none can be negative");

  const std::pair<const char*, const char*> shapes[] = {
      {"tree:limits", "limits().nodes is 2147483647, expected 0 to 65536"},
      {"tree:widths", "expand() returned 10 widths for 1 node"},
      {"tree:negative", "expand() returned the width -7"},
      {"tree:beam", "beam() is -1, expected at least 1"},
      {"tree:grown_nodes", "grown_nodes() is 1, expected 4 (limits().nodes) to 65536"},
      {"tree:keep_nobody", "node 999 is asked for"},
      {"tree:keep_all", "select() kept 6 nodes with their ancestors, 4 are allowed"},
  };
  for (const auto& [fault, rule] : shapes)
    CHECK_THAT(
        ends_with(fault, {.drafter = "model", .tree = "faulty_tree"}),
        Catch::StartsWith("tree 'faulty_tree' of plug-in libfaulty.so broke its contract") && Catch::Contains(rule));

  const std::pair<const char*, const char*> rows[] = {
      {"attention:fresh", "fresh() returned no policy"},
      {"attention:range", "below the item's own"},
      {"attention:order", "select_kv() returned row 0 after row 1, expected increasing rows"},
  };
  for (const auto& [fault, rule] : rows)
    CHECK_THAT(ends_with(fault, {.drafter = "{type: sparse_cache, attention: faulty_attention}"}),
               Catch::StartsWith("sparse attention 'faulty_attention' of plug-in libfaulty.so broke its contract") &&
                   Catch::Contains(rule));
}

TEST_CASE("an exit policy that breaks its contract is named", "[plugin]") {
  setup_of({});
  const auto policy = Registry<ExitPolicy>::instance().make(ConfigValue::scalar("faulty_exit"), {});
  const auto message = [&](const char* name) -> std::string {
    const Fault fault(name);
    const std::vector<ExitRow> rows{{1, 0, 5, 0, 9, false}};
    std::vector<char> leaves(1, 0);
    try {
      policy->layers(4);
      policy->wants();
      policy->decide({1, true, rows, {}, {}, {}}, leaves);
    } catch (const PluginError& error) {
      return error.what();
    }
    return leaves[0] != 0 ? "" : "no row left";
  };
  const std::string who = "exit policy 'faulty_exit' of plug-in libfaulty.so ";
  CHECK(message("none") == "");
  CHECK(message("exit:throw_int") == who + "threw int, which is no std::exception, in decide()");
  const std::pair<const char*, const char*> rules[] = {
      {"exit:range", "layers() returned 4 after 1, expected increasing numbers from 1 to 3"},
      {"exit:order", "layers() returned 1 after 2, expected increasing numbers from 1 to 3"},
      {"exit:first", "layers() returned 0, expected increasing numbers from 1 to 3"},
      {"exit:token", "wants() returned token -4, expected a token id"},
  };
  for (const auto& [fault, rule] : rules)
    CHECK_THAT(message(fault), Catch::StartsWith(who + "broke its contract") && Catch::Contains(rule));
}

TEST_CASE("a router that breaks its contract is named", "[plugin]") {
  setup_of({});
  const auto router = Registry<Router>::instance().make(ConfigValue::scalar("faulty_router"), {});
  const auto message = [&](const char* name) -> std::string {
    const Fault fault(name);
    const std::vector<float> logits(8, 1.0F);
    try {
      router->route({2, logits}, {0, {.experts = 4, .experts_per_token = 2}, {}});
    } catch (const PluginError& error) {
      return error.what();
    }
    return "";
  };
  const std::string who = "router 'faulty_router' of plug-in libfaulty.so ";
  CHECK(message("none") == "");
  CHECK(message("router:throw_int") == who + "threw int, which is no std::exception, in route()");
  const std::pair<const char*, const char*> rules[] = {
      {"router:range", "route() returned expert 4, the layer has 4 experts"},
      {"router:twice", "route() sent row 0 to expert 0 twice"},
      {"router:count", "route() returned 4 experts and 3 weights for 2 rows with 2 each"},
      {"router:weight", "for expert 1"},
      {"router:per_row", "route() gave -1 entries for a row, the layer has 4 experts"},
  };
  for (const auto& [fault, rule] : rules)
    CHECK_THAT(message(fault), Catch::StartsWith(who + "broke its contract in route(): ") && Catch::Contains(rule));
}

TEST_CASE("a drafter of a plug-in is guarded inside of others, too", "[plugin]") {
  for (const char* drafter : {"{type: first_of, drafters: [faulty_drafter, {type: model}]}",
                              "{type: merged, drafters: [{type: model, draft_sample_method: top_k}, faulty_drafter]}",
                              "{type: hybrid, copying: {type: prompt_lookup}, model: faulty_drafter}",
                              "{type: cascade, drafter: faulty_drafter}"})
    for (const char* fault : {"drafter:count", "drafter:node_id", "drafter:throw_int"}) {
      INFO(drafter << " " << fault);
      CHECK_THAT(ends_with(fault, {.drafter = drafter, .verifier = "rejection"}),
                 Catch::StartsWith(kDrafterOf) && Catch::Contains("of prompt q81"));
    }
}

TEST_CASE("in a batch all prompts are named, and each at its own step", "[plugin]") {
  CHECK_THAT(ends_with("drafter:throw_int", {}, 3),
             Catch::Contains("at step 0 of prompt q81, step 0 of prompt q82, step 0 of prompt q83"));
  CHECK_THAT(ends_with("drafter:throw_int", {}, 6), Catch::Contains("of prompt q84 and 2 more"));
  CHECK_THAT(ends_with("verifier:next", {}, 3), Catch::Contains("at step 0 of prompt q81: "));
}

TEST_CASE("entries of a trusted drafter's distributions are not looked at, all else is", "[plugin]") {
  const Parts parts{.verifier = "rejection"};
  CHECK_THAT(ends_with("drafter:negative", parts), Catch::Contains("is none"));
  trust_distributions_of("drafter 'faulty_drafter'");
  CHECK(ends_with("drafter:negative", parts) == "");
  CHECK_THAT(ends_with("drafter:sum", parts), Catch::Contains("sum to 0.75"));
}

struct SkipsANode final : Verifier {
  Verdict verify(const DraftTree&, Scores&, Rng&) const override { return {{5}, 1, NextKind::Bonus}; }
};

TEST_CASE("what is built in and breaks its contract is an internal error with its name", "[plugin]") {
  SkipsANode verifier;
  verifier.set_registration("verifier 'skips'", false, {});
  DraftTree draft(1);
  CHECK_THROWS_WITH(held_to_contract(verifier,
                                     [&] {
                                       check_verdict(draft, {{5}, 1, NextKind::Bonus}, 9);
                                     }),
                    Catch::StartsWith("verifier 'skips' broke its contract: internal error at ") &&
                        Catch::Contains("node 5 is accepted"));
  CHECK_THROWS_AS(held_to_contract(verifier, [&] { draft.node(4); }), InternalError);
}

}  // namespace
}  // namespace foretell::testing
