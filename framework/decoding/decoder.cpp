#include "framework/decoding/decoder.h"

#include <algorithm>

#include "framework/api/contract.h"
#include "framework/core/at_work.h"
#include "framework/core/error.h"
#include "framework/core/stopwatch.h"

namespace foretell::decoding {

struct Decoder::Running {
  Running(SlotId slot, const Request& request, int vocab)
      : slot(slot), sequence(request), sampler(request.sampling, vocab) {}

  SamplingContext context() const { return {sequence.request().prompt, sequence.generated(), {}}; }

  SlotId slot;
  Sequence sequence;
  Sampler sampler;
  std::unique_ptr<TargetSession> session;
  std::vector<RoundRecord> rounds;
  std::int64_t prefill_ns = 0;
};

namespace {

// Calls body() for something that reads the logits of `owner`.
template <class Body>
decltype(auto) reading_logits_of(const char* owner, const Body& body) {
  try {
    return body();
  } catch (const BadLogits& bad) {
    throw Error(std::string(bad.of(owner).what()) + AtWork::where());
  }
}

}  // namespace

std::optional<std::string> incompatibility(const Target& target, const Pipeline& pipeline,
                                           const SamplingOptions& sampling) {
  const DraftForm form = pipeline.drafter.form();
  if (auto why = pipeline.verifier.unsupported_reason(form, sampling)) return why;
  const StrategyInfo& verifier = pipeline.verifier.info();
  return target.unsupported_reason({.form = form,
                                    .drafter = pipeline.drafter.traits(),
                                    .verifier_needs_logits = verifier.needs_logits,
                                    .acceptance = verifier.acceptance},
                                   sampling);
}

Decoder::Decoder(Target& target, const Pipeline& pipeline, DecoderOptions options)
    : target_(target), pipeline_(pipeline), options_(std::move(options)), rows_(pipeline.drafter.limits().nodes + 1) {
  FORETELL_CHECK(options_.max_batch >= 1, "max_batch {}", options_.max_batch);
  if (!options_.make_rng) options_.make_rng = [](const RngKey& key) { return std::make_unique<PhiloxRng>(key); };
  slots_.resize(static_cast<std::size_t>(options_.max_batch));
}

Decoder::~Decoder() {
  for (const auto& slot : slots_) {
    try {
      if (slot) pipeline_.drafter.end(slot->slot);
    } catch (...) {  // these sequences were given up, so an exception is on its way already
    }
  }
}

bool Decoder::has_free_slot() const {
  return std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) { return !slot; });
}

bool Decoder::idle() const {
  return std::none_of(slots_.begin(), slots_.end(), [](const auto& slot) { return static_cast<bool>(slot); });
}

std::vector<Decoder::Running*> Decoder::unfinished() {
  std::vector<Running*> out;
  for (const auto& slot : slots_)
    if (slot && !slot->sequence.finished()) out.push_back(slot.get());
  return out;
}

std::vector<AtWork::Sequence> Decoder::at_work(std::span<Running* const> batch) {
  std::vector<AtWork::Sequence> out;
  for (const Running* r : batch) out.push_back({r->sequence.request().name, static_cast<int>(r->rounds.size())});
  return out;
}

void Decoder::add_request(const Request& request) {
  const auto free = std::find(slots_.begin(), slots_.end(), nullptr);
  FORETELL_CHECK(free != slots_.end(), "all {} slots are taken", slots_.size());
  const AtWork work({{request.name, AtWork::kPrefill}});
  if (auto why = incompatibility(target_, pipeline_, request.sampling)) throw Error(*why);
  pipeline_.drafter.check(request);

  const Stopwatch watch;
  auto running = std::make_unique<Running>(static_cast<SlotId>(free - slots_.begin()), request, target_.vocab());
  running->session = target_.open(request, rows_, pipeline_.drafter.required_hidden_states());
  const TokenSpan prompt = running->sequence.committed();
  pipeline_.drafter.begin(running->slot, {running->sequence.request(), prompt});
  const SlotId slot = running->slot;
  running->session->prefill(prompt.first(prompt.size() - 1),
                            [&](const PromptChunk& chunk) { pipeline_.drafter.observe_prompt(slot, chunk); });
  running->prefill_ns = watch.elapsed_ns();
  *free = std::move(running);  // only now: a request that failed to start leaves its slot free
}

std::unique_ptr<Rng> Decoder::rng(const Running& running, RngPurpose purpose) const {
  const Request& request = running.sequence.request();
  return options_.make_rng(
      {request.seed, request.id, static_cast<std::uint32_t>(running.sequence.committed().size()), purpose});
}

std::vector<DraftBudget> Decoder::plan(std::span<Running* const> batch) {
  std::vector<PolicyView> views;
  for (const Running* r : batch)
    views.push_back({r->slot, r->sequence.request().id, static_cast<int>(r->sequence.committed().size()),
                     static_cast<int>(r->sequence.generated().size()), r->sequence.remaining(),
                     static_cast<int>(batch.size())});
  std::vector<DraftBudget> budgets(batch.size(), pipeline_.drafter.limits());
  held_to_contract(pipeline_.policy, [&] { pipeline_.policy.plan(views, budgets); });
  for (std::size_t i = 0; i < batch.size(); ++i) budgets[i] = clip(budgets[i], *batch[i]);
  return budgets;
}

// The target adds a token of its own, so a draft deeper than remaining - 1 is wasted work; the anchor takes one row and
// one position itself.
DraftBudget Decoder::clip(const DraftBudget& budget, const Running& running) const {
  const int depth = std::min({budget.depth, running.sequence.remaining() - 1, running.session->positions_left() - 1});
  const int nodes = std::min({budget.nodes, rows_ - 1, running.session->room() - 1});
  if (depth <= 0 || nodes <= 0) return {0, 0, 0};
  return {nodes, depth, std::min(budget.width, nodes)};
}

std::vector<DraftTree> Decoder::draft(std::span<Running* const> batch, std::span<const DraftBudget> budgets) {
  std::vector<std::unique_ptr<Rng>> rngs;
  std::vector<DraftContext> contexts;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Running& r = *batch[i];
    rngs.push_back(rng(r, RngPurpose::Draft));
    contexts.push_back({r.slot, r.sequence.request(), r.sampler, r.sequence.committed(), budgets[i], *rngs[i],
                        pipeline_.policy, r.session->view(), target_.vocab(),
                        r.session->draws(pipeline_.verifier.info().acceptance)});
  }
  return held_to_contract(pipeline_.drafter, [&] {
    std::vector<DraftTree> drafts =
        reading_logits_of("the draft model's", [&] { return pipeline_.drafter.draft(contexts); });
    check_drafts(drafts, contexts);
    return drafts;
  });
}

std::vector<std::unique_ptr<Scores>> Decoder::score(std::span<Running* const> batch,
                                                    std::span<const DraftTree> drafts) {
  std::vector<ScoreRequest> requests;
  for (std::size_t i = 0; i < batch.size(); ++i)
    requests.push_back({*batch[i]->session, drafts[i], batch[i]->sampler, batch[i]->context()});
  return target_.score(requests);
}

std::vector<Verdict> Decoder::verify(std::span<Running* const> batch, std::span<const DraftTree> drafts,
                                     std::span<const std::unique_ptr<Scores>> scores) {
  std::vector<Verdict> verdicts;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const AtWork work(at_work(batch.subspan(i, 1)));
    const auto random = rng(*batch[i], RngPurpose::Verify);
    verdicts.push_back(held_to_contract(pipeline_.verifier, [&] {
      Verdict verdict =
          reading_logits_of("the target's", [&] { return pipeline_.verifier.verify(drafts[i], *scores[i], *random); });
      check_verdict(drafts[i], verdict, target_.vocab());
      return verdict;
    }));
  }
  return verdicts;
}

std::vector<RoundRecord> Decoder::commit(std::span<Running* const> batch, std::span<const DraftTree> drafts,
                                         std::span<const Verdict> verdicts) {
  std::vector<RoundRecord> records;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Running& r = *batch[i];
    r.session->keep(verdicts[i].accepted);
    const Appended appended = r.sequence.append(drafts[i], verdicts[i]);
    if (r.session->positions_left() == 0) r.sequence.end_of_context();
    FORETELL_CHECK(r.sequence.finished() || r.session->length() + 1 == static_cast<int>(r.sequence.committed().size()),
                   "the target holds {} tokens, {} are committed", r.session->length(), r.sequence.committed().size());
    records.push_back({drafts[i].drafted(),
                       drafts[i].size(),
                       drafts[i].depth(),
                       appended.accepted,
                       appended.emitted,
                       verdicts[i].kind,
                       {}});
  }
  return records;
}

void Decoder::step() {
  const std::vector<Running*> batch = unfinished();
  if (batch.empty()) return;
  const AtWork work(at_work(batch));
  const auto share = static_cast<std::int64_t>(batch.size());
  PhaseTimes ns;
  Stopwatch watch;

  const std::vector<DraftBudget> budgets = plan(batch);
  const std::vector<DraftTree> drafts = draft(batch, budgets);
  ns.draft = watch.lap_ns() / share;
  const std::vector<std::unique_ptr<Scores>> scores = score(batch, drafts);
  ns.score = watch.lap_ns() / share;
  const std::vector<Verdict> verdicts = verify(batch, drafts, scores);
  ns.verify = watch.lap_ns() / share;
  std::vector<RoundRecord> records = commit(batch, drafts, verdicts);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    records[i].work = scores[i]->work();
    records[i].experts = scores[i]->experts();
  }

  std::vector<RoundView> views;
  for (std::size_t i = 0; i < batch.size(); ++i)
    views.push_back(
        {batch[i]->slot, batch[i]->sequence.committed(), drafts[i], *scores[i], verdicts[i], records[i].emitted});
  reading_logits_of("the target's", [&] { pipeline_.drafter.observe(views); });
  ns.commit = watch.lap_ns() / share;
  for (RoundRecord& record : records) record.ns = ns;
  if (options_.clock) {
    std::vector<StepClock::Round> rounds;
    rounds.reserve(batch.size());
    for (const Running* r : batch) rounds.push_back({r->sequence.request(), static_cast<int>(r->rounds.size())});
    options_.clock->set_times(rounds, records);
  }
  pipeline_.policy.observe(records);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    batch[i]->rounds.push_back(records[i]);
    if (options_.on_round)
      options_.on_round({batch[i]->sequence.request(), static_cast<int>(batch[i]->rounds.size()) - 1, views[i],
                         batch[i]->rounds.back()});
  }
}

std::vector<Generation> Decoder::take_finished() {
  std::vector<Generation> out;
  for (auto& slot : slots_) {
    if (!slot || !slot->sequence.finished()) continue;
    const TokenSpan tokens = slot->sequence.generated();
    out.push_back({slot->sequence.request().id, Tokens(tokens.begin(), tokens.end()), slot->sequence.finish(),
                   std::move(slot->rounds), slot->prefill_ns});
    pipeline_.drafter.end(slot->slot);
    slot.reset();
  }
  return out;
}

std::vector<Generation> Decoder::run(std::span<const Request> requests) {
  std::map<std::uint64_t, std::size_t> place;
  for (std::size_t i = 0; i < requests.size(); ++i)
    FORETELL_CHECK(place.emplace(requests[i].id, i).second, "request id {} is given twice", requests[i].id);
  std::vector<Generation> out(requests.size());
  std::size_t next = 0;
  while (next < requests.size() || !idle()) {
    while (next < requests.size() && has_free_slot()) add_request(requests[next++]);
    step();
    for (Generation& done : take_finished()) out[place.at(done.request)] = std::move(done);
  }
  return out;
}

Generation Decoder::run(const Request& request) { return std::move(run(std::span(&request, 1)).front()); }

}  // namespace foretell::decoding
