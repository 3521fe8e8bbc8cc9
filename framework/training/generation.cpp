#include "framework/training/generation.h"

#include <fmt/format.h>

#include "framework/api/build_context.h"
#include "framework/decoding/decoder.h"
#include "framework/decoding/model_target.h"

namespace foretell::training {
namespace {

constexpr int kBatch = 16;

ConfigValue drafter_section(const std::optional<DraftedBy>& drafted_by) {
  if (!drafted_by) return ConfigValue::scalar("none");
  return ConfigValue::map({{"type", ConfigValue::scalar("model"), {}},
                           {"num_speculative_tokens", ConfigValue::scalar(fmt::format("{}", drafted_by->depth)), {}}});
}

}  // namespace

std::vector<Generation> generate_with(const std::shared_ptr<const model::LanguageModel>& target,
                                      std::span<const Request> requests, const std::optional<DraftedBy>& drafted_by) {
  BuildContext context;
  context.vocab = target->config().vocab_size;
  context.batch_size = kBatch;
  context.target = target;
  if (drafted_by) {
    context.draft_model = "the model in training";
    context.load_model = [&](const std::string&) { return drafted_by->draft; };
  }
  const auto drafter = Registry<Drafter>::instance().make(drafter_section(drafted_by), context);
  const auto verifier = Registry<Verifier>::instance().make(ConfigValue::scalar("rejection"), context);
  const auto policy = Registry<DraftPolicy>::instance().make(ConfigValue::scalar("fixed"), context);
  const auto decoded = decoding::make_model_target(target);
  decoding::DecoderOptions options;
  options.max_batch = kBatch;
  return decoding::Decoder(*decoded, {*drafter, *verifier, *policy}, options).run(requests);
}

std::string answer_text(const std::shared_ptr<const tokenizers::Tokenizer>& tokenizer, TokenSpan prompt,
                        const Generation& generation) {
  TokenSpan tokens = generation.tokens;
  if (generation.finish == FinishReason::StopToken) tokens = tokens.first(tokens.size() - 1);
  return tokenizers::decode_continuation(tokenizer, prompt, tokens, true);
}

}  // namespace foretell::training
