#include "experiments/certify/toy_pipeline.h"

#include <algorithm>
#include <cmath>

#include "experiments/certify/toy_tokenizer.h"
#include "framework/base/error.h"
#include "framework/decode/model_target.h"

namespace foretell::certify {

std::shared_ptr<const ToyModel> toy_target(int vocab, int context, std::uint64_t seed) {
  return std::make_shared<ToyModel>(ToyOptions{.vocab = vocab, .seed = seed, .context = context});
}

std::shared_ptr<const ToyModel> toy_draft(const std::shared_ptr<const ToyModel>& target, std::uint64_t seed) {
  return std::make_shared<ToyModel>(ToyOptions{
      .vocab = target->config().vocab_size, .seed = seed, .layers = 2, .context = target->config().context, .blend = 0.75, .like = target});
}

namespace {

// A drafter, or one inside it.
bool depends_on_the_run(const ConfigValue& description) {
  const auto named = [](const ConfigValue& name) {
    const auto& entries = Registry<Drafter>::instance().entries();
    const auto entry = name.is_scalar() ? entries.find(name.text()) : entries.end();
    return entry != entries.end() && (entry->second.info.run_state || entry->second.info.clock);
  };
  if (description.is_scalar()) return named(description);
  for (const ConfigValue& item : description.items())
    if (depends_on_the_run(item)) return true;
  return std::any_of(description.entries().begin(), description.entries().end(), [&](const ConfigValue::Entry& entry) {
    return entry.key == "type" ? named(entry.value) : !entry.value.is_scalar() && depends_on_the_run(entry.value);
  });
}

template <class Interface>
const StrategyInfo& info_of(const std::string& yaml) {
  const auto& registry = Registry<Interface>::instance();
  const ConfigValue description = parse_yaml(yaml, Registry<Interface>::kind());
  return registry.find(registry.type_of(description), description.where()).info;
}

}  // namespace

Setup toy_setup(const std::string& drafter_yaml, const std::string& verifier_yaml, const std::string& tree_yaml,
                std::shared_ptr<const ToyModel> target, const ToyPolicy& policy) {
  Setup setup;
  setup.model = target;
  setup.target = [target] { return make_model_target(target); };
  const auto draft = toy_draft(target), other = toy_draft(target, 98);
  const auto context = [=] {
    BuildContext out;
    out.vocab = target->config().vocab_size;
    out.target = target;
    out.draft_model = "toy";
    out.tokenizer = toy_target_tokenizer(out.vocab);
    out.load_tokenizer = [vocab = out.vocab](const std::string&) { return toy_draft_tokenizer(vocab); };
    out.load_model = [draft, other](const std::string& path) { return path == "other" ? other : draft; };
    out.row_costs = [costs = policy.costs] { return costs; };
    if (!tree_yaml.empty()) out.tree = parse_yaml(tree_yaml, "tree");
    return out;
  };
  setup.drafter = [=] { return Registry<Drafter>::instance().make(parse_yaml(drafter_yaml, "drafter"), context()); };
  setup.verifier = [=] { return Registry<Verifier>::instance().make(parse_yaml(verifier_yaml, "verifier"), context()); };
  setup.policy = [=] { return Registry<DraftPolicy>::instance().make(parse_yaml(policy.yaml, "policy"), context()); };
  const StrategyInfo& policy_info = info_of<DraftPolicy>(policy.yaml);
  setup.depends_on_the_run = depends_on_the_run(parse_yaml(drafter_yaml, "drafter")) || policy_info.run_state || policy_info.clock;
  const auto probe = setup.drafter();
  Request sampled{.prompt = {1}};
  sampled.sampling.temperature = 1.0;
  try {
    probe->check(sampled);
  } catch (const Error&) {
    setup.needs_reference = true;
  }
  return setup;
}

Tokens reference_greedy(const ToyModel& model, const Request& request) {
  Tokens text = request.prompt, out;
  while (static_cast<int>(out.size()) < request.max_new_tokens && static_cast<int>(text.size()) <= model.config().context) {
    const auto logits = model.logits_after(text);
    out.push_back(static_cast<Token>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    text.push_back(out.back());
    if (std::find(request.stop_tokens.begin(), request.stop_tokens.end(), out.back()) != request.stop_tokens.end()) break;
  }
  return out;
}

std::vector<double> reference_law(const ToyModel& model, TokenSpan text, double temperature) {
  std::vector<double> law;
  double sum = 0;
  for (const float logit : model.logits_after(text)) {
    law.push_back(std::exp(logit / temperature));
    sum += law.back();
  }
  for (double& p : law) p /= sum;
  return law;
}

std::map<Tokens, double> reference_joint_law(const ToyModel& model, const Tokens& prompt, int count, double temperature) {
  std::map<Tokens, double> laws{{{}, 1.0}};
  for (int i = 0; i < count; ++i) {
    std::map<Tokens, double> longer;
    for (const auto& [tokens, mass] : laws) {
      Tokens text = prompt;
      text.insert(text.end(), tokens.begin(), tokens.end());
      const std::vector<double> law = reference_law(model, text, temperature);
      for (std::size_t t = 0; t < law.size(); ++t) {
        Tokens next = tokens;
        next.push_back(static_cast<Token>(t));
        longer[next] = mass * law[t];
      }
    }
    laws = std::move(longer);
  }
  return laws;
}

std::optional<std::string> misfit(const Setup& setup, double temperature) {
  if (temperature > 0 && setup.needs_reference) return "the drafter knows the greedy answer only";
  SamplingOptions sampling;
  sampling.temperature = temperature;
  const auto target = setup.target();
  const auto drafter = setup.drafter();
  const auto verifier = setup.verifier();
  const auto policy = setup.policy();
  return foretell::misfit(*target, {*drafter, *verifier, *policy}, sampling);
}

std::vector<Generation> run(const Setup& setup, std::vector<Request> requests, const RunOptions& options) {
  if (setup.needs_reference)
    for (Request& r : requests) r.reference = reference_greedy(*setup.model, r);
  const auto target = setup.target();
  const auto drafter = setup.drafter();
  const auto verifier = setup.verifier();
  const auto policy = setup.policy();
  DecoderOptions decoder_options = options.decoder;
  decoder_options.max_batch = options.batch;
  Decoder decoder(*target, {*drafter, *verifier, *policy}, decoder_options);
  return decoder.run(requests);
}

}  // namespace foretell::certify
