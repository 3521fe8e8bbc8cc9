// What deciding costs beside scoring: verifying one large tree, and the target's forward that scores it.
//
// Contract: the tree has the given number of nodes, and its distributions are nearly the target's own, so that
// verifiers walk to its leaves: the dearest case. At temperature 0 its tokens are the most probable ones, at 1 they are
// drawn in the first way that a verifier takes (without replacement, with, chosen). A verification starts from raw rows
// of logits: warping what it visits is part of its time. Repeats of the forward and of all verifiers are interleaved,
// so that a slow spell of the machine touches all alike; reported are medians.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/model/language_model.h"

namespace foretell::measurement {

struct BenchVerifyOptions {
  int nodes = 64;
  int context = 128;  // cache rows before the scored ones
  int repeats = 7;
  std::string verifier = "all";  // or a name
};

struct BenchVerifyRow {
  std::string verifier;
  std::optional<double> greedy_ms = {}, sampled_ms = {};  // none where the verifier refuses trees of every kind
  std::string reason = {};  // why something was not measured that the verifier does not refuse
};

struct BenchVerifyReport {
  double forward_ms = 0;  // of nodes + 1 rows
  int vocab = 0, depth = 0;
  std::vector<BenchVerifyRow> rows = {};
};

BenchVerifyReport bench_verify(const model::LanguageModel& model, const BenchVerifyOptions& options);

}  // namespace foretell::measurement
