// What drafting without a model costs: time a round, beside nothing else.
//
// Contract: a text is cut into a prompt of `context` tokens and what follows it; the drafter is run over what follows
// as the loop runs it at temperature 0, with a recorded answer in the target's place. Only its own calls are timed:
// draft() and observe() of every round, and all up to the first draft. Each repeat is another text and another request
// of the same drafter, so that what it keeps of past requests is part of what is measured. Without a file texts are
// made up: words of a skewed distribution, with phrases that come back; the same for the same seed. Reported are
// medians over all rounds.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/core/types.h"

namespace foretell::measurement {

struct BenchDrafterOptions {
  std::string drafter = "all";  // a name, or a drafter as a study writes it: {type: ..., key: value}
  int context = 4096;
  int tokens = 512;  // decoded behind it
  int repeats = 3;
  std::optional<std::string> file, tokenizer;  // a real text; both or none
};

struct BenchDrafterRow {
  std::string drafter;
  std::string reason = {};                            // why it was not measured
  double round_us = 0, draft_us = 0, observe_us = 0;  // medians over rounds; a round is both
  double first_us = 0;                                // median over requests: taking in the prompt, and the first draft
  double drafted = 0, emitted = 0;                    // nodes and tokens a round, means
  int rounds = 0;
  std::optional<double> bytes = {};  // on the heap at the end of the last request, where the C library can say
};

struct BenchDrafterReport {
  int vocab = 0;
  std::vector<BenchDrafterRow> rows = {};
};

BenchDrafterReport bench_drafter(const BenchDrafterOptions& options);

}  // namespace foretell::measurement
