// The losslessness certificate over every registered verifier, and what theory says about their order.
#include "experiments/certify/certificate.h"

#include <map>
#include <set>

#include "framework/api/verifier.h"
#include "framework/core/registry_names.h"
#include "framework/sampling/optimal_transport.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

using namespace certify;

const std::vector<CertificateRow>& all_rows() {
  static const std::vector<CertificateRow> rows = certify::certify({});
  return rows;
}

const CertificateRow& row_of(const std::string& verifier, const std::string& draft) {
  for (const CertificateRow& row : all_rows())
    if (row.verifier == verifier && row.draft == draft) return row;
  throw std::out_of_range(verifier + " on " + draft);
}

TEST_CASE("every verifier that is registered lossless is, on every draft that it takes, and the checks could have told",
          "[certify]") {
  int lossless = 0;
  for (const CertificateRow& row : all_rows()) {
    INFO(row.verifier << " on " << row.draft << ": " << row.reason);
    CHECK(row.verdict != Ruling::Failed);
    if (row.verdict == Ruling::NotApplicable) CHECK(!row.reason.empty());
    if (row.registered_lossless) {
      CHECK(row.verdict != Ruling::NotExercised);
      CHECK(row.verdict != Ruling::WithoutPower);
    }
    CHECK((row.verdict == Ruling::PlainDecoding) == (row.draft == "none"));
    lossless += row.verdict == Ruling::Lossless;
  }
  CHECK(lossless >= 180);
}

TEST_CASE("no row is called lossless unless tokens were drafted, accepted and rejected in each of its checks",
          "[certify]") {
  for (const CertificateRow& row : all_rows()) {
    if (row.verdict != Ruling::Lossless) continue;
    INFO(row.verifier << " on " << row.draft);
    std::vector<const Exercise*> checks{&row.greedy};
    if (row.exact) checks.push_back(&row.exact->exercise);
    if (row.sampled) checks.push_back(&row.sampled->exercise);
    for (const Exercise* check : checks) {
      CHECK(check->drafted > 0);
      CHECK(check->accepted > 0);
      CHECK(check->rejected > 0);
      for (const MemberCounts& member : check->members) CHECK(member.rounds > 0);
    }
    CHECK(!row.controls.empty());
    for (const ControlFinding& control : row.controls) CHECK(control.caught);
  }
}

TEST_CASE("a row says where its draft met one verifier alone, and those that stand for its kind met all", "[certify]") {
  std::map<std::string, std::set<std::string>> verifiers_of;  // by draft
  for (const CertificateRow& row : all_rows()) verifiers_of[row.draft].insert(row.verifier);
  int alone = 0;
  for (const CertificateRow& row : all_rows()) {
    INFO(row.verifier << " on " << row.draft);
    CHECK(row.only_verifier == (verifiers_of[row.draft].size() == 1));
    alone += row.only_verifier;
  }
  CHECK(alone > 0);
  for (const std::string_view leader : leading_drafters())
    for (const DraftCase& draft : draft_cases(std::string(leader))) {
      INFO(draft.name);
      CHECK(verifiers_of[draft.name].size() == names_of<Verifier>("all").size());
    }
}

TEST_CASE("every draft and every verifier goes to the transformer once, and those that claim to lose nothing pass",
          "[certify]") {
  int real = 0;
  for (const CertificateRow& row : all_rows()) {
    INFO(row.verifier << " on " << row.draft);
    if (row.verdict == Ruling::NotApplicable) continue;
    CHECK(row.real.has_value() == (row.verifier == "rejection" || row.draft == "chain"));
    if (row.real && row.registered_lossless) CHECK(*row.real);
    if (row.verdict == Ruling::Lossless && row.real) {
      CHECK(row.real_exercise.accepted > 0);
      CHECK(row.real_exercise.rejected > 0);
    }
    real += row.real.has_value();
  }
  CHECK(real >= 45);
}

TEST_CASE("chains and trees are walked four tokens deep, and drawn six deep", "[certify]") {
  for (const char* draft :
       {"chain", "tree, chosen", "tree, without replacement", "tree, with replacement", "cascade of two models"}) {
    for (const CertificateRow& row : all_rows()) {
      if (row.draft != draft || row.verdict != Ruling::Lossless || !row.exact) continue;
      INFO(row.verifier << " on " << row.draft);
      CHECK(row.exact->exercise.deepest == 4);
      CHECK(row.sampled->exercise.deepest == 6);
    }
  }
}

TEST_CASE("compositions draft with each of their members, so they are not one of them", "[certify]") {
  const double chain = row_of("rejection", "chain").exact->expected_tokens;
  CHECK(row_of("rejection", "hybrid").exact->expected_tokens != Approx(chain).margin(1e-6));
  CHECK(row_of("rejection", "first_of: copies, then a model").exact->expected_tokens != Approx(chain).margin(1e-6));
  for (const char* draft :
       {"hybrid", "first_of: copies, then a model", "two models, merged", "drawn and chosen, merged"}) {
    INFO(draft);
    CHECK(row_of("rejection", draft).greedy.members.size() == 2);
  }
  CHECK(row_of("rejection", "cascade of two models").exact->exercise.members.at(0).rejected > 0);
  CHECK(*row_of("rejection", "sparse_cache: streaming").exact->first_drafted < 1 - 1e-6);
}

SetupOn on_toys(const std::string& drafter, float sharpness = 3.0F) {
  return [=](const std::shared_ptr<const KnownModel>& target, bool) {
    const ToyOptions options{.vocab = target->config().vocab_size, .sharpness = sharpness};
    return toy_setup(drafter, "rejection", "", std::make_shared<ToyModel>(options));
  };
}

TEST_CASE("a drafter that never drafts certifies nothing", "[certify]") {
  const CertificateRow row =
      certify_pipeline(on_toys("{type: prompt_lookup, prompt_lookup_max: 64, prompt_lookup_min: 60}"), {});
  CHECK(row.verdict == Ruling::NotExercised);
  CHECK_THAT(row.reason, Catch::Contains("no token was drafted in enumeration"));
  CHECK(!passes(row, true));
  CHECK(passes(row, false));  // of all pairs
  CHECK(row.exact->total_variation < 1e-12);
  const CertificateRow plain = certify_pipeline(on_toys("none"), {});
  CHECK(plain.verdict == Ruling::PlainDecoding);
  CHECK(passes(plain, true));
}

TEST_CASE("a member that never has a part is named", "[certify]") {
  const CertificateRow row = certify_pipeline(on_toys("{type: first_of, drafters: [{type: prompt_lookup, "
                                                      "prompt_lookup_max: 64, prompt_lookup_min: 60}, {type: model}]}"),
                                              {});
  CHECK(row.verdict == Ruling::NotExercised);
  CHECK_THAT(row.reason, Catch::Contains("the member 'prompt_lookup' had no part in a draft in enumeration"));
}

TEST_CASE("where a biased verifier passes the same checks, nothing is shown", "[certify]") {
  // The target is sure of every token: to accept with probability 1.1 p is then to accept with p.
  const CertificateRow row = certify_pipeline(on_toys("{type: prompt_lookup, whole_continuation: false}", 1e6F), {});
  CHECK(row.verdict == Ruling::WithoutPower);
  CHECK_THAT(row.reason, Catch::Contains("a verifier that accepts a tenth too often passes, too"));
}

TEST_CASE("verifiers that are lossy by design are measured to be, the negative control among them", "[certify]") {
  for (const char* verifier : {"typical", "lenient", "fuzzy", "relaxed_top_k", "synthetic", "nucleus_biased", "mars"}) {
    INFO(verifier);
    const CertificateRow& row = row_of(verifier, "chain");
    CHECK(row.verdict == Ruling::Lossy);
    CHECK(row.exact->total_variation > 0.001);
  }
  CHECK(row_of("nucleus_biased", "chain").exact->total_variation > 0.1);
  for (const char* verifier : {"nucleus_biased", "lenient"}) {
    INFO(verifier);
    CHECK(row_of(verifier, "prompt_lookup").verdict == Ruling::Lossy);
    CHECK(row_of(verifier, "prompt_lookup").exact->total_variation > 0.001);
  }
}

TEST_CASE("what theory says about expected tokens holds", "[certify]") {
  const auto tokens = [](const char* verifier, const char* draft) {
    return row_of(verifier, draft).exact->expected_tokens;
  };
  for (const char* chain : {"chain", "chain, another temperature"}) {
    INFO(chain);
    CHECK(tokens("block", chain) >= tokens("rejection", chain) - 1e-12);
    CHECK(tokens("traversal", chain) == Approx(tokens("block", chain)).margin(1e-12));
    CHECK(tokens("spectr", chain) == Approx(tokens("rejection", chain)).margin(1e-9));
    CHECK(tokens("multi_step", chain) == Approx(tokens("rejection", chain)).margin(1e-12));
    CHECK(tokens("rejection", chain) >= tokens("sample_then_match", chain) - 1e-12);
  }
  for (const char* tree : {"tree, chosen", "tree, without replacement", "tree, with replacement"}) {
    INFO(tree);
    CHECK(tokens("sequential_one_hot", tree) == Approx(tokens("sample_then_match", tree)).margin(1e-12));
    CHECK(tokens("traversal", tree) >= tokens("rejection", tree) - 1e-12);
  }
  const double best = tokens("optimal_transport", "three draws, with replacement");
  for (const char* verifier : {"rejection", "spectr", "multi_step", "traversal", "sample_then_match"})
    CHECK(tokens(verifier, "three draws, with replacement") <= best + 1e-9);
  CHECK(tokens("spectr", "three draws, with replacement") > tokens("rejection", "three draws, with replacement"));
}

TEST_CASE("no verifier exceeds the bound of optimal transport on the first token, and its own reaches it",
          "[certify]") {
  int bounded = 0;
  for (const CertificateRow& row : all_rows()) {
    if (!row.registered_lossless || !row.exact || !row.exact->transport_bound) continue;
    INFO(row.verifier << " on " << row.draft);
    CHECK(*row.exact->first_drafted <= *row.exact->transport_bound + 1e-9);
    if (row.verifier == "optimal_transport")
      CHECK(*row.exact->first_drafted == Approx(*row.exact->transport_bound).margin(1e-9));
    ++bounded;
  }
  CHECK(bounded >= 40);
}

TEST_CASE("rejection accepts one draw with probability 1 - TV, and leaves the residual", "[certify]") {
  const CertificateRow& row = row_of("rejection", "one token");
  CHECK(*row.exact->first_drafted == Approx(*row.exact->transport_bound).margin(1e-12));
  REQUIRE(row.exact->residual_variation);
  CHECK(*row.exact->residual_variation < 1e-12);
}

TEST_CASE("a draft that is the target itself is accepted whole", "[certify]") {
  for (const char* verifier : {"rejection", "block", "traversal", "multi_step", "spectr", "optimal_transport"}) {
    INFO(verifier);
    Setup setup = toy_setup("{type: model, num_speculative_tokens: 2}", verifier, "", toy_target(3));
    const auto target = setup.model;
    setup.drafter = [target, verifier] {
      BuildContext context;
      context.vocab = target->config().vocab_size;
      context.draft_model = "the target";
      context.load_model = [target](const std::string&) { return std::shared_ptr<const LanguageModel>(target); };
      return Registry<Drafter>::instance().make(parse_yaml("{type: model, num_speculative_tokens: 2}", "drafter"),
                                                context);
    };
    const ExactFindings found = enumerate(setup);
    CHECK(found.expected_tokens == Approx(3).margin(1e-9));
    CHECK(found.total_variation < 1e-12);
  }
}

TEST_CASE("optimal transport: the linear program reaches the bound over sets, and keeps both margins") {
  PhiloxRng rng({.seed = 17});
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<double> a(5), b(5);
    for (int t = 0; t < 5; ++t) {
      a[t] = rng.uniform() + 0.01;
      b[t] = rng.uniform() * rng.uniform() + 0.01;
    }
    const Distribution p = Distribution::dense(a), q = Distribution::dense(b);
    for (const int draws : {1, 2, 3}) {
      for (const bool replace : {true, false}) {
        INFO("trial " << trial << ", " << draws << " draws, replacement " << replace);
        const Coupling coupling = optimal_coupling(p, q, draws, replace);
        CHECK(coupling.accepted == Approx(acceptance_bound(p, q, draws, replace)).margin(1e-9));
        std::vector<double> emitted = coupling.rest;
        double drawn = 0;
        for (std::size_t s = 0; s < coupling.sets.size(); ++s) {
          double flow = 0;
          for (std::size_t i = 0; i < coupling.flow[s].size(); ++i) {
            emitted[coupling.sets[s].tokens[i]] += coupling.flow[s][i];
            flow += coupling.flow[s][i];
          }
          CHECK(flow <= coupling.sets[s].probability + 1e-15);
          drawn += coupling.sets[s].probability;
        }
        CHECK(drawn == Approx(1).margin(1e-12));
        for (Token t = 0; t < 5; ++t) CHECK(emitted[t] == Approx(p[t]).margin(1e-13));
      }
    }
    CHECK(acceptance_bound(p, q, 1, true) == Approx(overlap(p, q)).margin(1e-12));
  }
}

TEST_CASE("optimal transport refuses what would take for ever") {
  const Distribution wide = Distribution::dense(std::vector<double>(2000, 1.0));
  CHECK_THROWS_WITH(optimal_coupling(wide, wide, 2, true), Catch::Contains("at most"));
  CHECK_THROWS_WITH(acceptance_bound(wide, wide, 1, true), Catch::Contains("at most 16"));
}

TEST_CASE("a pair that does not fit is refused with the reason", "[certify]") {
  CHECK_THAT(row_of("block", "tree, chosen").reason, Catch::Contains("chains"));
  CHECK_THAT(row_of("spectr", "tree, without replacement").reason, Catch::Contains("independent draws"));
  CHECK_THAT(row_of("multi_step", "tree, without replacement").reason, Catch::Contains("random order"));
  CHECK_THROWS_WITH(certify::certify({.verifier = "rejektion"}), Catch::Contains("did you mean 'rejection'"));
}

}  // namespace
}  // namespace foretell::testing
