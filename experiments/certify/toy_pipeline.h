// Pipelines on a target whose distribution is known without the loop: a toy's table, or a small transformer.
//
// Contract: the references share no code with the loop: greedy text and joint distributions are computed straight from
// the model's logits after a text.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "experiments/certify/exercise.h"
#include "experiments/certify/toy_model.h"
#include "framework/api/build_context.h"
#include "framework/cost/row_costs.h"
#include "framework/decoding/decoder.h"

namespace foretell::certify {

// A pipeline whose parts are made afresh for every run.
struct Setup {
  std::shared_ptr<const KnownModel> model;
  std::function<std::unique_ptr<Target>()> target;
  std::function<std::unique_ptr<Drafter>()> drafter;
  std::function<std::unique_ptr<Verifier>()> verifier;
  std::function<std::unique_ptr<DraftPolicy>()> policy;
  bool needs_reference = false;     // the drafter knows the answer: temperature 0 only
  bool depends_on_the_run = false;  // the drafter or the policy keeps state across prompts, or looks at the clock
  std::shared_ptr<MemberWatch> watch = std::make_shared<MemberWatch>();  // of the drafter that was made last
};

std::shared_ptr<const ToyModel> toy_target(int vocab = 11, int context = 4096, std::uint64_t seed = 7);
// A draft that agrees with the target on most tokens.
std::shared_ptr<const ToyModel> toy_draft(const std::shared_ptr<const ToyModel>& target, std::uint64_t seed = 99);

// `yaml` as in a study: "{type: model, draft_sample_method: top_k}". There is a second draft model, by the name of
// "other". `costs`: of n rows, for policies that plan with them.
struct ToyPolicy {
  std::string yaml = "fixed";
  std::shared_ptr<const cost::RowCosts> costs = {};
};
Setup toy_setup(const std::string& drafter_yaml, const std::string& verifier_yaml = "rejection",
                const std::string& tree_yaml = "", std::shared_ptr<const KnownModel> target = toy_target(),
                const ToyPolicy& policy = {});

// Why the parts cannot be run together at that temperature; none if they can.
std::optional<std::string> incompatibility(const Setup& setup, double temperature);

Tokens reference_greedy(const KnownModel& model, const Request& request);
// The distribution of the next token, by plain softmax over the `top_k` most probable tokens; 0: over all.
std::vector<double> reference_distribution(const KnownModel& model, TokenSpan text, double temperature, int top_k = 0);
// The joint distribution of the next `count` tokens, without those that are impossible.
std::map<Tokens, double> reference_joint_distribution(const KnownModel& model, const Tokens& prompt, int count,
                                                      double temperature, int top_k = 0);

struct RunOptions {
  int batch = 1;
  decoding::DecoderOptions decoder = {};
  Exercise* exercise = nullptr;  // counts what is drafted
};
// The options with a listener that counts, before their own.
decoding::DecoderOptions counting(const Setup& setup, Exercise& exercise, decoding::DecoderOptions options = {});
std::vector<Generation> run(const Setup& setup, std::vector<Request> requests, const RunOptions& options = {});

}  // namespace foretell::certify
