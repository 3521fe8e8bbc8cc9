// Every exit policy keeps its word about its rows, and one that does not is found.
#include "experiments/certify/exits.h"
#include "tests/support/catch.h"
#include "tests/support/rooms.h"

namespace foretell::testing {
namespace {

using namespace certify;

TEST_CASE("every exit policy is lossless towards a target under it", "[conformance][exits]") {
  const std::vector<ExitPolicyRow> rows = certify_exits("all");
  CHECK(rows.size() == Registry<ExitPolicy>::instance().entries().size());
  for (const ExitPolicyRow& row : rows) {
    INFO(row.name << ": " << row.reason << ", " << row.left << " of " << row.asked << " left");
    CHECK(row.verdict == (row.name == "synchronised" ? Ruling::Lossy : Ruling::Lossless));
  }
}

// Rows leave where most of the batch would.
class Crowd final : public ExitPolicy {
 public:
  explicit Crowd(bool honest) : honest_(honest) {}
  std::vector<int> layers(int) const override { return {1, 2}; }
  ExitWants wants() const override { return {.logits = true}; }
  void decide(const ExitProbe& probe, std::span<char> leaves) override {
    std::fill(leaves.begin(), leaves.end(), probe.rows.size() % 2);
  }
  bool row_independent() const override { return !honest_; }

 private:
  bool honest_;
};

TEST_CASE("an exit decision that sees its neighbours is found, whatever it says", "[conformance][exits]") {
  for (const bool honest : {true, false}) {
    const ExitPolicyRow row =
        certify_exit("crowd", [&](const BuildContext&) { return std::make_shared<Crowd>(honest); });
    CHECK(row.verdict == (honest ? Ruling::Lossy : Ruling::Failed));
    CHECK_THAT(row.reason, Catch::Contains("differs from plain decoding"));
  }
}

}  // namespace
}  // namespace foretell::testing
