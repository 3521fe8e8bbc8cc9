#include "tests/support/conformance.h"

#include <algorithm>
#include <cmath>

#include "framework/base/error.h"
#include "framework/decode/model_target.h"
#include "tests/support/enumerator.h"

namespace foretell::testing {

std::shared_ptr<const ToyModel> toy_target(int vocab, int context) {
  return std::make_shared<ToyModel>(ToyOptions{.vocab = vocab, .context = context});
}

std::shared_ptr<const ToyModel> toy_draft(const std::shared_ptr<const ToyModel>& target) {
  return std::make_shared<ToyModel>(ToyOptions{
      .vocab = target->config().vocab_size, .seed = 99, .layers = 2, .context = target->config().context, .blend = 0.75, .like = target});
}

Setup toy_setup(const std::string& drafter_yaml, const std::string& verifier_yaml, const std::string& tree_yaml,
                std::shared_ptr<const ToyModel> target) {
  Setup setup;
  setup.model = target;
  setup.target = [target] { return make_model_target(target); };
  const auto draft = toy_draft(target);
  const auto context = [=] {
    BuildContext out;
    out.vocab = target->config().vocab_size;
    out.target = target;
    out.draft_model = "toy";
    out.load_model = [draft](const std::string&) { return draft; };
    if (!tree_yaml.empty()) out.tree = parse_yaml(tree_yaml, "tree");
    return out;
  };
  setup.drafter = [=] { return Registry<Drafter>::instance().make(parse_yaml(drafter_yaml, "drafter"), context()); };
  setup.verifier = [=] { return Registry<Verifier>::instance().make(parse_yaml(verifier_yaml, "verifier"), context()); };
  setup.policy = [=] { return Registry<DraftPolicy>::instance().make(parse_yaml("fixed", "policy"), context()); };
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

std::map<Tokens, double> reference_law(const ToyModel& model, const Tokens& prompt, int count, double temperature) {
  std::map<Tokens, double> laws{{{}, 1.0}};
  for (int i = 0; i < count; ++i) {
    std::map<Tokens, double> longer;
    for (const auto& [tokens, mass] : laws) {
      Tokens text = prompt;
      text.insert(text.end(), tokens.begin(), tokens.end());
      const auto logits = model.logits_after(text);
      double sum = 0;
      for (const float x : logits) sum += std::exp(x / temperature);
      for (std::size_t t = 0; t < logits.size(); ++t) {
        Tokens next = tokens;
        next.push_back(static_cast<Token>(t));
        longer[next] = mass * std::exp(logits[t] / temperature) / sum;
      }
    }
    laws = std::move(longer);
  }
  return laws;
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

namespace {

Complaint compare(const Setup& setup, const std::vector<Request>& requests, int batch, const std::string& what) {
  const std::vector<Generation> got = run(setup, requests, {.batch = batch});
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const Tokens want = reference_greedy(*setup.model, requests[i]);
    if (got[i].tokens != want)
      return fmt::format("{}: request {} emitted {} tokens, expected {}; first difference at {}", what, i, got[i].tokens.size(),
                         want.size(),
                         std::mismatch(got[i].tokens.begin(), got[i].tokens.end(), want.begin(), want.end()).first - got[i].tokens.begin());
    int emitted = 0;
    for (const RoundRecord& r : got[i].rounds) emitted += r.emitted;
    if (emitted != static_cast<int>(want.size()))
      return fmt::format("{}: the rounds of request {} account for {} tokens of {}", what, i, emitted, want.size());
  }
  return std::nullopt;
}

}  // namespace

Complaint check_identity(const Setup& setup) {
  const Tokens prompt{1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2};
  const auto vocab = setup.model->config().vocab_size;
  const auto request = [&](Tokens tokens, int count, std::vector<Token> stops) {
    for (Token& t : tokens) t %= vocab;
    return Request{.prompt = std::move(tokens), .max_new_tokens = count, .stop_tokens = std::move(stops)};
  };
  for (const int count : {1, 2, 7, 120})
    if (auto bad = compare(setup, {request(prompt, count, {})}, 1, fmt::format("{} new tokens", count))) return bad;
  for (Token stop = 0; stop < vocab; ++stop)
    if (auto bad = compare(setup, {request(prompt, 120, {stop})}, 1, fmt::format("stop token {}", stop))) return bad;
  if (auto bad = compare(setup, {request({5}, 40, {})}, 1, "a prompt of one token")) return bad;
  // A tree near the limit: the context ends while whole drafts would still be wanted.
  const int context = setup.model->config().context;
  if (context < 100)
    if (auto bad = compare(setup, {request(prompt, 1000, {})}, 1, "a context that fills up")) return bad;
  std::vector<Request> batch;
  for (Token first = 0; first < 7; ++first) {
    batch.push_back(request({first, 2, 3, first, 2}, 20 + 13 * first, {}));
    batch.back().id = static_cast<std::uint64_t>(first);
  }
  return compare(setup, batch, 3, "batch 3");
}

double total_variation(const Setup& setup, int tokens, double temperature) {
  const Tokens prompt{1, 2, 1};
  Request request{.prompt = prompt, .max_new_tokens = tokens};
  request.sampling.temperature = temperature;
  std::map<Tokens, double> law;
  Enumerator enumerator;
  RunOptions options;
  options.decoder.make_rng = [&](const RngKey&) { return enumerator.make_rng(); };
  enumerator.run([&] {
    const Tokens out = run(setup, {request}, options).front().tokens;
    law[out] += enumerator.weight();
  });
  double distance = 0;
  for (const auto& [text, mass] : reference_law(*setup.model, prompt, tokens, temperature)) {
    distance += std::abs(mass - law[text]);
    law.erase(text);
  }
  for (const auto& [text, mass] : law) distance += mass;
  return distance / 2;
}

Complaint check_exact(const Setup& setup) {
  const double distance = total_variation(setup);
  if (distance < 1e-12) return std::nullopt;
  return fmt::format("total variation {:.3g} from the target's law", distance);
}

double chi_square_z(const Setup& setup, int trials) {
  const Tokens prompt{1, 2, 1};
  std::map<Tokens, double> seen;
  const auto target = setup.target();
  const auto drafter = setup.drafter();
  const auto verifier = setup.verifier();
  const auto policy = setup.policy();
  Decoder decoder(*target, {*drafter, *verifier, *policy});
  for (int i = 0; i < trials; ++i) {
    Request request{.id = static_cast<std::uint64_t>(i), .prompt = prompt, .max_new_tokens = 3, .seed = 20240401};
    request.sampling.temperature = 1.0;
    ++seen[decoder.run(request).tokens];
  }
  double chi2 = 0;
  const auto law = reference_law(*setup.model, prompt, 3, 1.0);
  for (const auto& [text, mass] : law) chi2 += std::pow(seen[text] - trials * mass, 2) / (trials * mass);
  const double freedom = static_cast<double>(law.size()) - 1;
  return (chi2 - freedom) / std::sqrt(2 * freedom);
}

}  // namespace foretell::testing
