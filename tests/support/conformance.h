// The checks that every strategy has to pass, as functions, so that the same checks run over the registry and over planted faults.
//
// Contract: each check returns what is wrong in words, or nothing. The references share no code with the loop: greedy text and joint laws are
// computed straight from the toy's table.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/decode/build_context.h"
#include "framework/decode/decoder.h"
#include "tests/support/toy_model.h"

namespace foretell::testing {

// A pipeline whose parts are made afresh for every run.
struct Setup {
  std::shared_ptr<const ToyModel> model;
  std::function<std::unique_ptr<Target>()> target;
  std::function<std::unique_ptr<Drafter>()> drafter;
  std::function<std::unique_ptr<Verifier>()> verifier;
  std::function<std::unique_ptr<DraftPolicy>()> policy;
  bool needs_reference = false;  // the drafter knows the answer: temperature 0 only
};

std::shared_ptr<const ToyModel> toy_target(int vocab = 11, int context = 4096);
// A draft that agrees with the target on most tokens.
std::shared_ptr<const ToyModel> toy_draft(const std::shared_ptr<const ToyModel>& target);

// `yaml` as in a study: "{type: model, draft_sample_method: top_k}".
Setup toy_setup(const std::string& drafter_yaml, const std::string& verifier_yaml = "rejection", const std::string& tree_yaml = "",
                std::shared_ptr<const ToyModel> target = toy_target());

Tokens reference_greedy(const ToyModel& model, const Request& request);
// The joint law of the next `count` tokens at a temperature, by plain softmax.
std::map<Tokens, double> reference_law(const ToyModel& model, const Tokens& prompt, int count, double temperature);

struct RunOptions {
  int batch = 1;
  DecoderOptions decoder = {};
};
std::vector<Generation> run(const Setup& setup, std::vector<Request> requests, const RunOptions& options = {});

using Complaint = std::optional<std::string>;
// Token identity with the greedy reference at temperature 0: lengths, stop tokens inside drafts, a full cache, batch 3, single-token prompts.
Complaint check_identity(const Setup& setup);
// Total variation between the exact law of `tokens` emitted tokens and the target's, by enumeration of every random decision.
double total_variation(const Setup& setup, int tokens = 3, double temperature = 1.0);
Complaint check_exact(const Setup& setup);
// z-value of a chi-square test of the joint law of three tokens, with the production generator.
double chi_square_z(const Setup& setup, int trials);

}  // namespace foretell::testing
