#include "framework/training/generation.h"

#include "framework/api/build_context.h"
#include "framework/decoding/decoder.h"
#include "framework/decoding/model_target.h"
#include "framework/model/load_model.h"

namespace foretell::training {
namespace {

constexpr int kBatch = 16;

}  // namespace

std::vector<Generation> generate_with(const std::shared_ptr<const model::LanguageModel>& target,
                                      std::span<const Request> requests, const DraftedBy& drafted_by) {
  BuildContext context;
  context.vocab = target->config().vocab_size;
  context.batch_size = kBatch;
  context.target = target;
  if (drafted_by.draft_model) {
    context.draft_model = "the model in training";
    context.load_model = [&](const std::string&) { return drafted_by.draft_model; };
  } else {
    context.load_model = [](const std::string& folder) { return model::load_model(folder, {.dtype = at::kFloat}); };
  }
  const auto drafter = Registry<Drafter>::instance().make(drafted_by.drafter, context);
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
