// Members of one drafter that want different hidden states of the target.
#include <ATen/ops/allclose.h>

#include <fstream>
#include <map>
#include <set>

#include "framework/api/build_context.h"
#include "framework/api/policy.h"
#include "framework/api/verifier.h"
#include "framework/decoding/bases/composite_drafter.h"
#include "framework/decoding/decoder.h"
#include "framework/decoding/model_target.h"
#include "framework/model/hidden.h"
#include "framework/model/load_model.h"
#include "framework/model/make_random.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

std::shared_ptr<const LanguageModel> small_llama() {
  const testing::TemporaryFolder folder;
  std::ofstream(folder.path() / "in.json")
      << R"({"model_type": "llama", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48,
             "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
             "max_position_embeddings": 160, "rms_norm_eps": 1e-5, "torch_dtype": "float32"})";
  make_random(folder.path() / "in.json", folder.path() / "model", 3);
  return load_model(folder.path() / "model");
}

// Text, and the states of its positions in the order in which they were asked for.
struct Seen {
  Tokens text;
  std::vector<std::map<int, at::Tensor>> aux_states;
  std::map<int, at::Tensor> final_state;
};

// Drafts what it is told to, and keeps the states that it is shown.
class Watcher final : public Drafter {
 public:
  Watcher(HiddenStateRequest wanted, int length, std::map<std::uint64_t, Seen>& seen)
      : wanted_(std::move(wanted)), length_(length), seen_(seen) {}

  DraftBudget limits() const override { return {length_, length_, 1}; }
  DraftForm form() const override { return {.point_mass = true}; }
  HiddenStateRequest required_hidden_states() const override { return wanted_; }
  void begin(SlotId slot, const PromptView& prompt) override {
    Seen& seen = seen_[prompt.request.id] = {Tokens(prompt.tokens.begin(), prompt.tokens.end()), {}, {}};
    seen.aux_states.resize(wanted_.aux_states.size());
    at_[slot] = &seen;
  }
  void observe_prompt(SlotId slot, const PromptChunk& chunk) override {
    for (int i = 0; i < static_cast<int>(chunk.tokens.size()); ++i) keep(*at_[slot], chunk.hidden, i, chunk.first + i);
  }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    std::vector<DraftTree> drafts;
    for (const DraftContext& context : batch) {
      DraftTree& tree = drafts.emplace_back(context.committed.back());
      NodeId at = kAnchor;
      for (int i = 0; i < std::min(context.budget.nodes, context.budget.depth); ++i)
        at = tree.choose(at, context.committed[context.committed.size() / 2 + static_cast<std::size_t>(i)],
                         context.vocab);
    }
    return drafts;
  }
  void observe(std::span<const RoundView> rounds) override {
    for (const RoundView& round : rounds) {
      Seen& seen = *at_.at(round.slot);
      const int anchor = static_cast<int>(seen.text.size()) - 1;
      keep(seen, round.scores.hidden(), kAnchor, anchor);
      const int accepted = std::min<int>(round.emitted, static_cast<int>(round.verdict.accepted.size()));
      for (int i = 0; i < accepted; ++i)
        keep(seen, round.scores.hidden(), round.verdict.accepted[static_cast<std::size_t>(i)], anchor + 1 + i);
      seen.text.assign(round.committed.begin(), round.committed.end());
    }
  }

 private:
  void keep(Seen& seen, const HiddenStates* states, int row, int position) const {
    CHECK((states != nullptr) == !wanted_.empty());
    if (!states) return;
    REQUIRE(states->aux_states.size() == wanted_.aux_states.size());
    for (std::size_t i = 0; i < wanted_.aux_states.size(); ++i)
      seen.aux_states[i][position] = states->aux_states[i][row].clone();
    CHECK(states->final_state.defined() == wanted_.final_state);
    if (wanted_.final_state) seen.final_state[position] = states->final_state[row].clone();
  }

  HiddenStateRequest wanted_;
  int length_;
  std::map<std::uint64_t, Seen>& seen_;
  std::map<SlotId, Seen*> at_;
};

class Both final : public CompositeDrafter {
 public:
  explicit Both(std::vector<std::unique_ptr<Drafter>> members) : CompositeDrafter(std::move(members)) {}
  DraftBudget limits() const override { return member(0).limits(); }
  DraftForm form() const override { return member_forms(); }
  std::vector<DraftTree> draft(std::span<const DraftContext> batch) override {
    return draft_in_turn(batch, [](std::size_t, const DraftTree&) { return true; });
  }
};

struct Watched {
  HiddenStateRequest wanted;
  std::map<std::uint64_t, Seen> seen = {};
};

std::unique_ptr<Drafter> watchers(std::vector<Watched>& watched) {
  std::vector<std::unique_ptr<Drafter>> members;
  for (Watched& one : watched) members.push_back(std::make_unique<Watcher>(one.wanted, 3, one.seen));
  return std::make_unique<Both>(std::move(members));
}

void run_with(Drafter& drafter, const std::shared_ptr<const LanguageModel>& model) {
  std::vector<Request> requests;
  for (std::uint64_t id = 0; id < 5; ++id) {
    Request request{.id = id, .max_new_tokens = 12 + static_cast<int>(id)};
    for (int i = 0; i < 9 + static_cast<int>(id); ++i) request.prompt.push_back((i * 13 + static_cast<int>(id)) % 29);
    requests.push_back(request);
  }
  const BuildContext context;
  const auto verifier = Registry<Verifier>::instance().make(ConfigValue::scalar("rejection"), context);
  const auto policy = Registry<DraftPolicy>::instance().make(ConfigValue::scalar("fixed"), context);
  const auto target = make_model_target(model, {.prefill_chunk = 4});
  Decoder(*target, {drafter, *verifier, *policy}, {.max_batch = 3}).run(requests);
}

// Against one forward over the whole text.
void check_states(const LanguageModel& model, const Watched& watched) {
  CHECK(watched.seen.size() == 5);
  for (const auto& [id, seen] : watched.seen) {
    INFO("request " << id);
    const auto cache = model.make_cache(static_cast<int>(seen.text.size()));
    const ForwardItem item{.input = TokenSpan(seen.text), .cache = cache.get(), .logits = LogitRows::None};
    ForwardOptions options;
    options.aux_states = watched.wanted.aux_states;
    options.return_final_state = watched.wanted.final_state;
    const ForwardResult all = model.forward(std::span(&item, 1), options);
    const auto check = [](const std::map<int, at::Tensor>& rows, const at::Tensor& expected) {
      CHECK(rows.size() > 15);
      for (const auto& [position, row] : rows) CHECK(at::allclose(row, expected[position], 1e-4, 1e-5));
    };
    for (std::size_t i = 0; i < seen.aux_states.size(); ++i) check(seen.aux_states[i], all.aux_states[i]);
    if (watched.wanted.final_state) check(seen.final_state, all.final_state);
  }
}

TEST_CASE("members that want different hidden states get each their own, in their own order") {
  const auto model = small_llama();
  std::vector<Watched> watched = {
      {{.aux_states = {3, 1}}}, {{.aux_states = {0, 3, 4}, .final_state = true}}, {{}}, {{.final_state = true}}};
  const auto drafter = watchers(watched);
  const HiddenStateRequest all = drafter->required_hidden_states();
  CHECK(all.final_state);
  CHECK(std::set<int>(all.aux_states.begin(), all.aux_states.end()) == std::set<int>{0, 1, 3, 4});
  CHECK(all.aux_states.size() == 4);
  run_with(*drafter, model);
  for (const Watched& one : watched) check_states(*model, one);
}

TEST_CASE("compositions of compositions hand hidden states on") {
  const auto model = small_llama();
  std::vector<Watched> inner = {{{.aux_states = {2}}}, {{.aux_states = {1}}}}, outer = {{{.aux_states = {4, 2}}}};
  std::vector<std::unique_ptr<Drafter>> members;
  members.push_back(std::make_unique<Watcher>(outer[0].wanted, 3, outer[0].seen));
  members.push_back(watchers(inner));
  Both drafter(std::move(members));
  run_with(drafter, model);
  for (const Watched& one : inner) check_states(*model, one);
  check_states(*model, outer[0]);
}

}  // namespace
}  // namespace foretell
