// Greedy decoding in bfloat16 says the same whatever is decoded with it: on the bundled pair, whose logits are near
// ties often enough that another order of sums shows within some hundred tokens.
#include "framework/api/build_context.h"
#include "framework/decoding/decoder.h"
#include "framework/decoding/model_target.h"
#include "framework/model/load_model.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

constexpr int kAnswer = 64, kSequences = 8;

class BundledPair {
 public:
  std::vector<Tokens> texts(const std::string& drafter, int batch, int prefill_chunk) const {
    BuildContext context;
    context.vocab = target_->config().vocab_size;
    context.target = target_;
    context.draft_model = "draft";
    context.load_model = [this](const std::string&) { return draft_; };
    const auto proposes = Registry<Drafter>::instance().make(parse_yaml(drafter, "drafter"), context);
    const auto verifier = Registry<Verifier>::instance().make(parse_yaml("rejection", "v"), context);
    const auto policy = Registry<DraftPolicy>::instance().make(parse_yaml("fixed", "p"), context);
    const auto loop_target = make_model_target(target_, {.prefill_chunk = prefill_chunk});
    std::vector<Tokens> out;
    for (Generation& one : Decoder(*loop_target, {*proposes, *verifier, *policy}, {.max_batch = batch}).run(requests()))
      out.push_back(std::move(one.tokens));
    return out;
  }

 private:
  static std::vector<Request> requests() {
    std::vector<Request> out;
    for (std::uint64_t id = 0; id < kSequences; ++id) {
      Request request{.id = id, .max_new_tokens = kAnswer, .seed = 3};
      for (int i = 0; i < 20 + 5 * static_cast<int>(id); ++i)
        request.prompt.push_back((i * i * 31 + static_cast<int>(id) * 101) % 2000 + 10);
      out.push_back(request);
    }
    return out;
  }

  std::shared_ptr<const LanguageModel> target_ =
      load_model("models/target", {.dtype = at::kBFloat16, .device = at::kCPU});
  std::shared_ptr<const LanguageModel> draft_ =
      load_model("models/draft", {.dtype = at::kBFloat16, .device = at::kCPU});
};

TEST_CASE("drafts, batches and chunks of a prompt leave a greedy text in bfloat16 as it is", "[real]") {
  const BundledPair pair;
  const std::vector<Tokens> plain = pair.texts("none", 1, 1);
  CHECK(pair.texts("none", kSequences, 64) == plain);
  CHECK(pair.texts("{type: prompt_lookup, num_speculative_tokens: 8}", 5, 16) == plain);
  for (const auto& [tokens, batch, chunk] : {std::tuple{2, 8, 7}, {4, 1, 512}, {8, 3, 64}, {16, 8, 512}}) {
    INFO(tokens << " drafted, batch of " << batch << ", prompts in chunks of " << chunk);
    CHECK(pair.texts(fmt::format("{{type: model, num_speculative_tokens: {}}}", tokens), batch, chunk) == plain);
  }
}

}  // namespace
}  // namespace foretell
