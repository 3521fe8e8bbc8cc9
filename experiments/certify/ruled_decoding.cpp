#include "experiments/certify/ruled_decoding.h"

#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/api/verifier.h"
#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/decoding/decoder.h"
#include "framework/decoding/model_target.h"

namespace foretell::certify {
namespace {

std::vector<Request> requests() {
  std::vector<Request> out;
  for (int i = 0; i < kRuledSequences; ++i) {
    Request request{.id = static_cast<std::uint64_t>(i), .max_new_tokens = 48};
    for (int t = 0; t < 9 + i; ++t) {
      const int seed = 100 * i + t / 2;
      request.prompt.push_back(static_cast<Token>(mix64(static_cast<std::uint64_t>(seed)) % kRuledVocab));
    }
    out.push_back(std::move(request));
  }
  return out;
}

std::vector<Tokens> decoded(const std::shared_ptr<const model::LanguageModel>& model,
                            const decoding::ForwardRules& rules, const std::string& drafter, int batch,
                            Exercise& exercise) {
  BuildContext context{.vocab = kRuledVocab, .target = model, .target_rules = &rules};
  const MemberWatch watch;
  const auto target = decoding::make_model_target(model, {.rules = rules});
  const auto parse = [](const std::string& text) { return parse_yaml(text, "certify"); };
  const auto drafts = Registry<Drafter>::instance().make(parse(drafter), context);
  const auto verifier = Registry<Verifier>::instance().make(parse("rejection"), context);
  const auto policy = Registry<DraftPolicy>::instance().make(parse("fixed"), context);
  decoding::DecoderOptions options{.max_batch = batch};
  options.on_round = [&](const decoding::RoundEvent& event) { watch.count(event, exercise); };
  decoding::Decoder decoder(*target, {*drafts, *verifier, *policy}, options);
  std::vector<Tokens> out;
  for (const Generation& generation : decoder.run(requests())) out.push_back(generation.tokens);
  return out;
}

}  // namespace

Complaint ruled_decoding_complaint(const std::shared_ptr<const model::LanguageModel>& model,
                                   const decoding::ForwardRules& rules, Exercise& exercise) {
  Exercise plain;
  const std::vector<Tokens> want = decoded(model, rules, "none", 1, plain);
  for (const char* drafter : {"none", "prompt_lookup", "token_recycling"})
    for (const int batch : {1, kRuledSequences}) {
      const std::vector<Tokens> got = decoded(model, rules, drafter, batch, exercise);
      for (std::size_t i = 0; i < want.size(); ++i)
        if (got[i] != want[i])
          return fmt::format("decoding at batch {} with drafter '{}' differs from plain decoding alone at token {}",
                             batch, drafter, std::ranges::mismatch(want[i], got[i]).in1 - want[i].begin());
    }
  return std::nullopt;
}

}  // namespace foretell::certify
