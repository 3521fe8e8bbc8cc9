// Certification of routers: ours keep their word, and a router that does not is found.
#include "experiments/certify/routing.h"

#include "framework/api/build_context.h"
#include "tests/support/catch.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

using namespace certify;

TEST_CASE("every router is certified, or says that its rows depend on one another", "[routing]") {
  const std::vector<RouterRow> rows = certify_routers("all");
  CHECK(rows.size() == Registry<Router>::instance().entries().size());
  for (const RouterRow& row : rows) {
    INFO(row.name << ": " << row.reason);
    CHECK(row.verdict == (row.says_independent ? Ruling::Lossless : Ruling::Lossy));
  }
  CHECK(certify_routers("{type: top_k, k: 1}").front().verdict == Ruling::Lossless);
}

// Planted: an expert takes at most `places` rows of a forward, the first ones.
class Crowded final : public Router {
 public:
  Crowded(int places, bool admits, bool batch) : places_(places), admits_(admits), across_(batch) {}
  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    Routing routing = route_by_rule(rows, context, context.rule);
    std::map<int, int> taken;
    for (const RoutedItem& item : rows.items) {
      if (!across_) taken.clear();
      for (int i = item.first * routing.per_row; i < (item.first + item.rows) * routing.per_row; ++i)
        if (int& expert = routing.experts[static_cast<std::size_t>(i)]; ++taken[expert] > places_) expert = -1;
    }
    return routing;
  }
  bool row_independent() const override { return !admits_; }

 private:
  int places_;
  bool admits_, across_;
};

RouterRow judged(int places, bool admits, bool across) {
  return certify_router("crowded",
                        [&](const BuildContext&) { return std::make_shared<Crowded>(places, admits, across); });
}

TEST_CASE("a router whose rows depend on one another and that denies it is found", "[routing]") {
  const RouterRow in_batch = judged(4, false, true), in_draft = judged(1, false, false), honest = judged(4, true, true);
  CHECK(in_batch.verdict == Ruling::Failed);
  CHECK(in_batch.reason.find("in a batch of 3 sequences") != std::string::npos);
  CHECK(in_draft.verdict == Ruling::Failed);
  CHECK(in_draft.reason.find("alone") != std::string::npos);
  CHECK(honest.verdict == Ruling::Lossy);
  CHECK(judged(1000, false, true).verdict == Ruling::Lossless);
  CHECK(judged(1000, true, true).verdict == Ruling::NotExercised);
}

// Planted: says the same of the rows that it is asked about directly and something else in a run, by what it saw
// before.
class Forgetful final : public Router {
 public:
  Routing route(const RouterRows& rows, const RouterContext& context) const override {
    ExpertRule rule = context.rule;
    if (rows.items.size() == 3 && rows.rows < 15 && !rows.tokens.empty()) rule.experts_per_token = 1;
    return route_by_rule(rows, context, rule);
  }
  bool row_independent() const override { return true; }
};

TEST_CASE("a router that differs in a batch of running sequences alone is found by what is decoded", "[routing]") {
  const RouterRow row = certify_router("forgetful", [](const BuildContext&) { return std::make_shared<Forgetful>(); });
  CHECK(row.verdict == Ruling::Failed);
  CHECK(row.reason.find("decoding at batch 3") != std::string::npos);
}

}  // namespace
}  // namespace foretell::testing
