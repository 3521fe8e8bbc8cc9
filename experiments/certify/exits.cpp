#include "experiments/certify/exits.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "experiments/certify/random_model.h"
#include "experiments/certify/ruled_decoding.h"
#include "framework/api/build_context.h"

namespace foretell::certify {
namespace {

constexpr std::string_view kConfig =
    R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 16,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "torch_dtype": "float32"})";

constexpr std::array<std::pair<KvRule, const char*>, 4> kRules = {{{KvRule::Propagate, "propagate"},
                                                                   {KvRule::Copy, "copy"},
                                                                   {KvRule::Recompute, "recompute"},
                                                                   {KvRule::Hole, "hole"}}};

// A policy, and how often it let a row go.
class Counted final : public ExitPolicy {
 public:
  Counted(std::shared_ptr<ExitPolicy> policy, ExitPolicyRow& row) : policy_(std::move(policy)), row_(row) {}
  std::vector<int> layers(int num_layers) const override { return policy_->layers(num_layers); }
  ExitWants wants() const override { return policy_->wants(); }
  void decide(const ExitProbe& probe, std::span<char> leaves) override {
    policy_->decide(probe, leaves);
    row_.asked += static_cast<long>(leaves.size());
    row_.left += static_cast<long>(leaves.size()) - std::ranges::count(leaves, 0);
  }
  void observe(std::span<const ExitRecord> records) override { policy_->observe(records); }
  bool row_independent() const override { return policy_->row_independent(); }

 private:
  std::shared_ptr<ExitPolicy> policy_;
  ExitPolicyRow& row_;
};

Complaint exit_complaint(const std::shared_ptr<const model::LanguageModel>& model,
                         const std::shared_ptr<ExitPolicy>& policy, ExitPolicyRow& row) {
  for (const auto& [kv, name] : kRules) {
    const auto counted = std::make_shared<Counted>(policy, row);
    if (const auto why =
            ruled_decoding_complaint(model, {.exits = {.policy = counted, .kv = kv, .max_pending = 5}}, row.exercise))
      return fmt::format("kv: {}: {}", name, *why);
  }
  return std::nullopt;
}

// Thresholds for a random model, which is sure of nothing.
const std::map<std::string, std::string>& exit_forms() {
  static const std::map<std::string, std::string> all = {
      {"fixed_layer", "{type: fixed_layer, layer: 2}"},
      {"max_probability", "{type: max_probability, threshold: 0.1}"},
      {"margin", "{type: margin, threshold: 0.01}"},
      {"entropy", "{type: entropy, threshold: 2.7}"},
      {"hidden_similarity", "{type: hidden_similarity, threshold: 0.5}"},
      {"patience", "{type: patience, patience: 1}"},
      {"classifier", "{type: classifier, probe: random}"},
      {"free", "{type: free, layer: 2, threshold: 0.01}"},
      {"specee", "{type: specee, predictor: random}"}};
  return all;
}

}  // namespace

ExitPolicyRow certify_exit(const std::string& name,
                           const std::function<std::shared_ptr<ExitPolicy>(const BuildContext&)>& make) {
  return tested<ExitPolicyRow>(name, [&](ExitPolicyRow& row) {
    const auto model = random_model(std::string(kConfig), 17);
    const std::shared_ptr<ExitPolicy> policy = make({.vocab = kRuledVocab, .target = model});
    row.says_independent = policy->row_independent();
    const Complaint complaint = exit_complaint(model, policy, row);
    judge(row, complaint, row.left == 0 ? "no row left early" : row.exercise.missing(true));
  });
}

std::vector<ExitPolicyRow> certify_exits(const std::string& exit) {
  return certify_rules<ExitPolicy>(exit, "--exit", exit_forms(), certify_exit);
}

}  // namespace foretell::certify
