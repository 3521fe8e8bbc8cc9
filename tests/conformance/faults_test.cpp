#include "tests/conformance/faults.h"

#include <cstdio>

#include "framework/core/error.h"
#include "tests/support/catch.h"

namespace foretell::testing {
namespace {

// A check as it is used on the registry; an internal check of the framework that fires counts as caught, by name.
Complaint guarded(const std::function<Complaint()>& check) {
  try {
    return check();
  } catch (const InternalError& e) {
    return std::string(e.what());
  }
}

TEST_CASE("every planted fault is caught", "[faults]") {
  std::printf("%-20s %-18s %s\n", "planted fault", "caught by", "finding");
  for (const Fault& fault : planted_faults()) {
    std::string caught_by = "exact enumeration";
    Complaint finding;
    if (fault.setup.model->config().vocab_size <= 5) finding = guarded([&] { return check_exact(fault.setup); });
    if (!finding) {
      caught_by = "token identity";
      finding = guarded([&] { return check_identity(fault.setup); });
    }
    std::printf("%-20s %-18s %s\n", fault.name.c_str(), finding ? caught_by.c_str() : "NOTHING",
                finding ? finding->substr(0, 110).c_str() : "");
    INFO(fault.name << ": " << fault.what);
    CHECK(finding);
  }
}

TEST_CASE("the certificate catches faults that only drafts of three tokens and more show", "[faults]") {
  for (const DeepFault& fault : deep_faults()) {
    INFO(fault.name << ": " << fault.what);
    // An answer of three tokens has drafts of two: what is wrong behind them stays hidden.
    CHECK(!check_exact(fault.on(toy_target(3), false)));
    CHECK(!check_identity(fault.on(toy_target(11), false)));
    const CertificateRow row = certify_pipeline(fault.on, {.draft = {.many_branches = true}});
    CHECK(row.verdict == Ruling::Failed);
    CHECK(!passes(row, false));
    CHECK_THAT(row.reason, Catch::Contains("total variation"));
    CHECK(row.exact->exercise.deepest == 4);
  }
}

TEST_CASE("the checks pass on the same pipelines without a fault", "[faults]") {
  CHECK(!check_exact(toy_setup("{type: model, num_speculative_tokens: 2}", "rejection", "", toy_target(3, 48))));
  CHECK(!check_identity(
      toy_setup("{type: model, draft_sample_method: top_k}", "rejection", "{type: widths, widths: [3, 2]}")));
  CHECK(!check_identity(toy_setup("{type: model, num_speculative_tokens: 4}")));
}

}  // namespace
}  // namespace foretell::testing
