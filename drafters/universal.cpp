// A draft model with another tokenizer than the target's (Timor et al. 2025, arXiv 2502.05202).
//
// `intersection` (token-level): the draft's distribution is cut to the tokens that both vocabularies have and
// renormalised, and tokens are drawn from that; the distribution is true, so verification loses nothing. Trees,
// policies and all else work as with `model`. Target tokens that the draft lacks are read as the draft's tokens for
// their text, each for itself, so that a longer text never changes how its beginning is read. `text` (re-tokenisation):
// the draft continues the text in its own tokens, and what it wrote is read again with the target's tokenizer: a chain
// of point masses, not limited to shared tokens. The text is read anew only in a window of `lookbehind` tokens, as in
// Hugging Face's implementation.
#include <algorithm>

#include "framework/api/build_context.h"
#include "framework/core/error.h"
#include "framework/datasets/continuation.h"
#include "framework/decoding/bases/model_drafter.h"
#include "framework/decoding/host_logits.h"
#include "framework/tokenizers/map_vocabularies.h"

namespace foretell::drafters {
namespace {

constexpr int kReadChunk = 512;

struct UniversalOptions {
  std::string model, method = "intersection";
  int lookbehind = 10;
  bases::ModelDraftOptions draft;
  void declare(Parameters& p) {
    p.add("model", model, "folder of the draft checkpoint, with its tokenizer; empty: the study's model.draft",
          {.aliases = {"draft_model", "assistant_model"}});
    p.add("method", method, "draft tokens that both have, or text that is tokenised again",
          {.choices = {"intersection", "text"}});
    p.add("lookbehind", lookbehind, "tokens before the new text that are tokenised again with it",
          {.min = 1, .max = 1024, .aliases = {"target_lookbehind", "assistant_lookbehind"}});
    draft.declare(p);
  }
};

// The two tokenizers, read once.
struct TextSides {
  TextSides(std::shared_ptr<const tokenizers::Tokenizer> of_target,
            std::shared_ptr<const tokenizers::Tokenizer> of_draft)
      : target(std::move(of_target)), draft(std::move(of_draft)), ends(draft.tokenizer()->eos()) {}
  datasets::ContinuationEncoder target, draft;
  std::vector<Token> ends;
};

// One sequence's text in the draft's tokens, and its cache.
class TextDrafter final : public SequenceDrafter {
 public:
  TextDrafter(const UniversalOptions& options, const model::LanguageModel& model, const TextSides& sides)
      : options_(options), model_(model), sides_(sides), session_(model, model.config().context + 1) {}

  DraftTree draft(const DraftContext& context) override {
    DraftTree tree(context.committed.back());
    const int depth = std::min(context.budget.depth, context.budget.nodes);
    read(context.committed);
    // A token of the target may take several of the draft's.
    const int room = model_.config().context - static_cast<int>(own_.size());
    const int written = std::min(room, 2 * depth);
    if (depth <= 0 || own_.empty() || written <= 0) return tree;
    NodeId at = kAnchor;
    for (const Token token :
         retokenised(context.committed,
                     tokenizers::decode_continuation(sides_.draft.tokenizer(), own_, write(written), true))) {
      if (tree.depth() == depth || token >= context.vocab) break;
      at = tree.choose(at, token, context.vocab);
    }
    return tree;
  }

 private:
  // Where tokenising the end of `tokens` anew may begin: `lookbehind` tokens back, or as much further as it takes.
  std::size_t window_start(TokenSpan tokens, const datasets::ContinuationEncoder& encoder) const {
    std::size_t start = tokens.size() - std::min(tokens.size(), static_cast<std::size_t>(options_.lookbehind));
    while (start > 0 && !encoder.can_start_at(tokens[start])) --start;
    return start;
  }

  // Brings own_ up to the committed text. Its last tokens are made anew, because new text may join them.
  void read(TokenSpan committed) {
    const std::string text = tokenizers::decode_continuation(sides_.target.tokenizer(), committed.first(read_),
                                                             committed.subspan(read_), true);
    read_ = committed.size();
    const std::size_t start = window_start(own_, sides_.draft);
    const TokenSpan before = TokenSpan(own_).first(start), window = TokenSpan(own_).subspan(start);
    const std::string joined = tokenizers::decode_continuation(sides_.draft.tokenizer(), before, window, true) + text;
    Tokens again =
        start == 0 ? sides_.draft.tokenizer()->encode(joined, {.add_special = true}) : sides_.draft.encode(joined);
    std::erase_if(again, [&](Token token) { return token >= model_.config().vocab_size; });
    again.insert(again.begin(), before.begin(), before.end());
    own_ = std::move(again);
  }

  // The draft's most probable continuation, in its own tokens.
  Tokens write(int count) {
    Tokens out;
    TokenSpan missing = TokenSpan(own_).subspan(static_cast<std::size_t>(session_.align(own_)));
    for (; missing.size() > kReadChunk; missing = missing.subspan(kReadChunk))
      model_.forward(session_.extend(missing.first(kReadChunk), model::LogitRows::None));
    decoding::HostLogits logits(model_.forward(session_.extend(missing, model::LogitRows::Last)).logits);
    for (NodeId parent = kAnchor;; ++parent) {
      out.push_back(logits.argmax(0));
      const bool ends = std::find(sides_.ends.begin(), sides_.ends.end(), out.back()) != sides_.ends.end();
      if (static_cast<int>(out.size()) == count || ends) return out;
      const DraftNode row{out.back(), parent};
      logits = decoding::HostLogits(model_.forward(session_.grow(std::span(&row, 1))).logits);
    }
  }

  // `text` after the committed tokens in the target's tokens, under the widest window whose own tokens stay as they
  // are. Where the text goes on within a token there is none, and nothing is drafted.
  Tokens retokenised(TokenSpan committed, const std::string& text) const {
    const datasets::ContinuationEncoder& target = sides_.target;
    for (std::size_t start = window_start(committed, target); start < committed.size(); ++start) {
      if (!target.can_start_at(committed[start])) continue;
      const TokenSpan window = committed.subspan(start);
      const Tokens again = target.encode(
          tokenizers::decode_continuation(target.tokenizer(), committed.first(start), window, true) + text);
      if (again.size() > window.size() && std::equal(window.begin(), window.end(), again.begin()))
        return {again.begin() + static_cast<std::ptrdiff_t>(window.size()), again.end()};
    }
    return target.can_encode(text) ? target.encode(text) : Tokens{};
  }

  const UniversalOptions& options_;
  const model::LanguageModel& model_;
  const TextSides& sides_;
  bases::ModelSession session_;
  Tokens own_;            // the committed text in the draft's tokens
  std::size_t read_ = 0;  // committed tokens that own_ stands for
};

class TextDrafters final : public PerSequenceDrafter {
 public:
  TextDrafters(const UniversalOptions& options, std::shared_ptr<const model::LanguageModel> model,
               std::shared_ptr<const tokenizers::Tokenizer> target, std::shared_ptr<const tokenizers::Tokenizer> draft)
      : options_(options), model_(std::move(model)), sides_(std::move(target), std::move(draft)) {}
  DraftBudget limits() const override {
    const int depth = options_.draft.num_speculative_tokens.value_or(4);
    return {depth, depth, 1};
  }
  DraftForm form() const override { return {.point_mass = true}; }

 private:
  std::unique_ptr<SequenceDrafter> open(const PromptView&) override {
    return std::make_unique<TextDrafter>(options_, *model_, sides_);
  }
  UniversalOptions options_;
  std::shared_ptr<const model::LanguageModel> model_;
  TextSides sides_;
};

class UniversalDrafter final : public Drafter {
 public:
  using Options = UniversalOptions;
  UniversalDrafter(const Options& options, const BuildContext& context) {
    const std::string path = bases::draft_checkpoint(options.model, context, "universal");
    if (!context.tokenizer) fail("drafter 'universal' compares texts: the target has no tokenizer");
    const auto model = context.load_model(path);
    const auto tokenizer = context.load_tokenizer ? context.load_tokenizer(path) : nullptr;
    if (!tokenizer) fail("drafter 'universal' compares texts: the draft model {} has no tokenizer", path);
    if (options.method == "text") {
      if (options.draft.names_tree())
        fail_at(options.draft.tree.where(),
                "drafter 'universal': method: text drafts a chain: expected tree: none, or method: intersection");
      drafter_ = std::make_unique<TextDrafters>(options, model, context.tokenizer, tokenizer);
      return;
    }
    VocabularyMap map =
        tokenizers::map_vocabularies(context.tokenizer, context.vocab, tokenizer, model->config().vocab_size);
    if (map.shared == 0)
      fail("drafter 'universal': the vocabularies of the target and of {} share no token: use method: text", path);
    drafter_ = std::make_unique<bases::ModelDrafter>(options.draft, model, context, std::move(map));
  }

  DraftBudget limits() const override { return drafter_->limits(); }
  DraftForm form() const override { return drafter_->form(); }
  DrafterTraits traits() const override { return drafter_->traits(); }
  void begin(SlotId slot, const PromptView& prompt) override { drafter_->begin(slot, prompt); }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override { return drafter_->draft(batch); }
  void end(SlotId slot) override { drafter_->end(slot); }

 private:
  std::unique_ptr<Drafter> drafter_;
};

FORETELL_REGISTER(Drafter, UniversalDrafter, "universal",
                  {.summary = "a draft model with a tokenizer of its own",
                   .paper = {"Timor et al.", 2025, "2502.05202"},
                   .also_known_as = {"UAD", "UAG", "TLI", "SLEM", "universal assisted decoding"},
                   .taxonomy = {.focus = "model-centric",
                                .ryu2024 = "independent draft model",
                                .xia2024 = "independent drafting: small LM"}});

}  // namespace
}  // namespace foretell::drafters
