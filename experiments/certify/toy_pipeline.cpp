#include "experiments/certify/toy_pipeline.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "experiments/certify/toy_tokenizer.h"
#include "framework/core/error.h"
#include "framework/decoding/model_target.h"

namespace foretell::certify {

std::shared_ptr<const ToyModel> toy_target(int vocab, int context, std::uint64_t seed) {
  return std::make_shared<ToyModel>(ToyOptions{.vocab = vocab, .seed = seed, .context = context});
}

std::shared_ptr<const ToyModel> toy_draft(const std::shared_ptr<const ToyModel>& target, std::uint64_t seed) {
  return std::make_shared<ToyModel>(ToyOptions{.vocab = target->config().vocab_size,
                                               .seed = seed,
                                               .layers = 2,
                                               .context = target->config().context,
                                               .blend = 0.75,
                                               .like = target});
}

namespace {

// A strategy, or one inside it.
template <class Interface>
bool depends_on_the_run(const ConfigValue& description) {
  const auto named = [](const ConfigValue& name) {
    const auto& entries = Registry<Interface>::instance().entries();
    const auto entry = name.is_scalar() ? entries.find(name.text()) : entries.end();
    return entry != entries.end() && (entry->second.info.stateful || entry->second.info.uses_wall_clock);
  };
  if (description.is_scalar()) return named(description);
  for (const ConfigValue& item : description.items())
    if (depends_on_the_run<Interface>(item)) return true;
  return std::any_of(description.entries().begin(), description.entries().end(), [&](const ConfigValue::Entry& entry) {
    return entry.key == "type" ? named(entry.value)
                               : !entry.value.is_scalar() && depends_on_the_run<Interface>(entry.value);
  });
}

}  // namespace

Setup toy_setup(const std::string& drafter_yaml, const std::string& verifier_yaml, const std::string& tree_yaml,
                std::shared_ptr<const KnownModel> target, const ToyPolicy& policy) {
  Setup setup;
  setup.model = target;
  setup.target = [target] { return decoding::make_model_target(target); };
  const auto draft = target->draft(false), other = target->draft(true);
  BuildContext context;
  context.vocab = target->config().vocab_size;
  context.target = target;
  context.draft_model = "toy";
  context.tokenizer = toy_target_tokenizer(context.vocab);
  context.load_tokenizer = [tokenizer = toy_draft_tokenizer(context.vocab)](const std::string&) { return tokenizer; };
  context.load_model = [draft, other](const std::string& path) { return path == "other" ? other : draft; };
  context.row_costs = [costs = policy.costs] { return costs; };
  if (!tree_yaml.empty()) context.tree = parse_yaml(tree_yaml, "tree");
  // Enumeration makes the parts anew for each of thousands of branches: their descriptions are read once.
  const ConfigValue drafter = parse_yaml(drafter_yaml, "drafter"), verifier = parse_yaml(verifier_yaml, "verifier");
  const ConfigValue length = parse_yaml(policy.yaml, "policy");
  setup.drafter = [=, watch = setup.watch] {
    BuildContext watched = context;
    watch->attach(watched);
    return Registry<Drafter>::instance().make(drafter, watched);
  };
  setup.verifier = [=] { return Registry<Verifier>::instance().make(verifier, context); };
  setup.policy = [=] { return Registry<DraftPolicy>::instance().make(length, context); };
  setup.depends_on_the_run = depends_on_the_run<Drafter>(drafter) || depends_on_the_run<DraftPolicy>(length);
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

Tokens reference_greedy(const KnownModel& model, const Request& request) {
  Tokens text = request.prompt, out;
  while (static_cast<int>(out.size()) < request.max_new_tokens &&
         static_cast<int>(text.size()) <= model.config().context) {
    const auto logits = model.logits_after(text);
    out.push_back(static_cast<Token>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    text.push_back(out.back());
    if (std::find(request.stop_tokens.begin(), request.stop_tokens.end(), out.back()) != request.stop_tokens.end())
      break;
  }
  return out;
}

std::vector<double> reference_distribution(const KnownModel& model, TokenSpan text, double temperature, int top_k) {
  std::vector<double> distribution;
  double sum = 0;
  const std::vector<float> logits = model.logits_after(text);
  std::vector<float> ranked = logits;
  std::sort(ranked.begin(), ranked.end(), std::greater<>());
  const double highest = ranked.front();
  const float lowest = top_k > 0 && top_k < static_cast<int>(ranked.size()) ? ranked[top_k - 1] : ranked.back();
  for (const float logit : logits) {
    distribution.push_back(logit < lowest ? 0 : std::exp((logit - highest) / temperature));
    sum += distribution.back();
  }
  for (double& p : distribution) p /= sum;
  return distribution;
}

std::map<Tokens, double> reference_joint_distribution(const KnownModel& model, const Tokens& prompt, int count,
                                                      double temperature, int top_k) {
  std::map<Tokens, double> distributions{{{}, 1.0}};
  for (int i = 0; i < count; ++i) {
    std::map<Tokens, double> longer;
    for (const auto& [tokens, mass] : distributions) {
      Tokens text = prompt;
      text.insert(text.end(), tokens.begin(), tokens.end());
      const std::vector<double> distribution = reference_distribution(model, text, temperature, top_k);
      for (std::size_t t = 0; t < distribution.size(); ++t) {
        if (distribution[t] == 0) continue;
        Tokens next = tokens;
        next.push_back(static_cast<Token>(t));
        longer[next] = mass * distribution[t];
      }
    }
    distributions = std::move(longer);
  }
  return distributions;
}

std::optional<std::string> incompatibility(const Setup& setup, double temperature) {
  if (temperature > 0 && setup.needs_reference) return "the drafter knows the greedy answer only";
  SamplingOptions sampling;
  sampling.temperature = temperature;
  const auto target = setup.target();
  const auto drafter = setup.drafter();
  const auto verifier = setup.verifier();
  const auto policy = setup.policy();
  return decoding::incompatibility(*target, {*drafter, *verifier, *policy}, sampling);
}

decoding::DecoderOptions counting(const Setup& setup, Exercise& exercise, decoding::DecoderOptions options) {
  options.on_round = [watch = setup.watch, &exercise,
                      next = std::move(options.on_round)](const decoding::RoundEvent& event) {
    watch->count(event, exercise);
    if (next) next(event);
  };
  return options;
}

std::vector<Generation> run(const Setup& setup, std::vector<Request> requests, const RunOptions& options) {
  if (setup.needs_reference)
    for (Request& r : requests) r.reference = reference_greedy(*setup.model, r);
  const auto target = setup.target();
  const auto drafter = setup.drafter();
  const auto verifier = setup.verifier();
  const auto policy = setup.policy();
  decoding::DecoderOptions decoder_options =
      options.exercise ? counting(setup, *options.exercise, options.decoder) : options.decoder;
  decoder_options.max_batch = options.batch;
  decoding::Decoder decoder(*target, {*drafter, *verifier, *policy}, decoder_options);
  return decoder.run(requests);
}

}  // namespace foretell::certify
