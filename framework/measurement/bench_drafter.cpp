#include "framework/measurement/bench_drafter.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "framework/api/build_context.h"
#include "framework/api/policy.h"
#include "framework/api/verifier.h"
#include "framework/core/error.h"
#include "framework/core/registry_names.h"
#include "framework/core/stopwatch.h"
#include "framework/core/text.h"
#include "framework/datasets/corpus.h"
#include "framework/metrics/metrics.h"
#include "framework/replay/replay_target.h"

namespace foretell::measurement {
namespace {

constexpr int kMadeUpVocab = 32000;
constexpr std::uint64_t kTextSeed = 1;

std::optional<double> allocated_bytes() {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
  const auto info = mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
#else
  return std::nullopt;
#endif
}

// Tokens of a skewed distribution; every other stretch is a copy of 4 to 32 tokens from before, or a phrase that all
// texts share.
Tokens made_up_text(int size, int number) {
  PhiloxRng rng({.seed = kTextSeed, .request = static_cast<std::uint64_t>(number), .purpose = RngPurpose::Workload});
  const auto word = [&](PhiloxRng& from) {
    return static_cast<Token>(std::pow(static_cast<double>(kMadeUpVocab), from.uniform())) - 1;
  };
  Tokens text;
  while (static_cast<int>(text.size()) < size) {
    const std::size_t length = 4 + rng.below(29);
    const std::uint64_t kind = rng.below(4);
    if (kind == 0 && text.size() > length) {
      const std::size_t from = rng.below(text.size() - length);
      for (std::size_t i = 0; i < length; ++i) text.push_back(text[from + i]);
    } else if (kind == 1) {
      PhiloxRng phrase({.seed = kTextSeed, .request = ~rng.below(200), .purpose = RngPurpose::Workload});
      for (std::size_t i = 0; i < length; ++i) text.push_back(word(phrase));
    } else {
      for (std::size_t i = 0; i < length; ++i) text.push_back(word(rng));
    }
  }
  text.resize(static_cast<std::size_t>(size));
  return text;
}

struct BenchTexts {
  int vocab = 0;
  std::shared_ptr<const tokenizers::Tokenizer> tokenizer;
  std::vector<Tokens> texts;  // prompt and what follows it, one for each repeat
};

BenchTexts bench_texts(const BenchDrafterOptions& options) {
  BenchTexts out;
  constexpr int longest = 1 << 24;
  if (options.context > longest || options.tokens > longest)
    fail("bench drafter: a context of {} and {} behind it; at most {} of each are allowed", options.context,
         counted(options.tokens, "token"), longest);
  if (options.file.has_value() != options.tokenizer.has_value())
    fail("bench drafter: --file and --tokenizer go together");
  const int size = options.context + options.tokens;
  if (!options.file) {
    out.vocab = kMadeUpVocab;
    for (int i = 0; i < options.repeats; ++i) out.texts.push_back(made_up_text(size, i));
    return out;
  }
  out.tokenizer = tokenizers::load_tokenizer(*options.tokenizer);
  out.vocab = out.tokenizer->vocab_size();
  Tokens all;
  const std::size_t wanted = static_cast<std::size_t>(size) * static_cast<std::size_t>(options.repeats);
  const int at_most = static_cast<int>(std::min<std::size_t>(wanted, std::numeric_limits<int>::max()));
  for (const Tokens& document : datasets::read_corpus(*options.file, *out.tokenizer, at_most))
    all.insert(all.end(), document.begin(), document.end());
  if (all.size() < wanted)
    fail("{}: has {}; {} of {} and {} need {}", *options.file, counted(all.size(), "token"),
         counted(options.repeats, "repeat"), options.context, counted(options.tokens, "token"), wanted);
  for (int i = 0; i < options.repeats; ++i)
    out.texts.emplace_back(all.begin() + i * size, all.begin() + (i + 1) * size);
  return out;
}

struct TimedRounds {
  std::vector<double> round_us, draft_us, observe_us, first_us;
  double drafted = 0, emitted = 0;
};

double us(std::int64_t ns) { return static_cast<double>(ns) * 1e-3; }

// One request of the loop, with a watch at the drafter's calls.
class DrafterTrial {
 public:
  DrafterTrial(Drafter& drafter, const BuildContext& context, TimedRounds& times)
      : drafter_(drafter),
        target_(replay::make_replay_target(context.vocab)),
        verifier_(Registry<Verifier>::instance().make(ConfigValue::scalar("greedy"), context)),
        policy_(Registry<DraftPolicy>::instance().make(ConfigValue::scalar("fixed"), context)),
        sampler_({.temperature = 0.0}, context.vocab),
        times_(times) {}

  void run(const Request& request) {
    const auto session = target_->open(request, drafter_.limits().nodes + 1, {});
    committed_ = request.prompt;
    committed_.reserve(request.prompt.size() + request.reference.size());
    const Stopwatch watch;
    drafter_.begin(kSlot, {request, committed_});
    session->prefill(TokenSpan(committed_).first(committed_.size() - 1),
                     [&](const PromptChunk& chunk) { drafter_.observe_prompt(kSlot, chunk); });
    times_.first_us.push_back(us(watch.elapsed_ns()));
    first_round_ = true;
    while (session->positions_left() > 1) round(request, *session);
  }
  void end() { drafter_.end(kSlot); }

 private:
  static constexpr SlotId kSlot = 0;

  void round(const Request& request, TargetSession& session) {
    DraftBudget budget = drafter_.limits();
    budget.depth = std::min(budget.depth, session.positions_left() - 1);
    PhiloxRng rng({.request = request.id, .position = static_cast<std::uint32_t>(committed_.size())});
    const DraftContext context{kSlot, request, sampler_, committed_, budget, rng, *policy_, nullptr, target_->vocab()};
    Stopwatch watch;
    const std::vector<DraftTree> drafts = drafter_.draft(std::span(&context, 1));
    const std::int64_t drafting = watch.lap_ns();
    const DraftTree& draft = drafts.front();
    const ScoreRequest wanted{session, draft, sampler_, {}};
    const auto scores = std::move(target_->score(std::span(&wanted, 1)).front());
    const Verdict verdict = verifier_->verify(draft, *scores, rng);
    session.keep(verdict.accepted);
    for (const NodeId node : verdict.accepted) committed_.push_back(draft.node(node).token);
    committed_.push_back(verdict.next);
    const auto emitted = static_cast<int>(verdict.accepted.size()) + 1;
    const RoundView view{kSlot, committed_, draft, *scores, verdict, emitted};
    watch.lap_ns();
    drafter_.observe(std::span(&view, 1));
    const std::int64_t observing = watch.lap_ns();
    if (std::exchange(first_round_, false)) times_.first_us.back() += us(drafting);
    times_.draft_us.push_back(us(drafting));
    times_.observe_us.push_back(us(observing));
    times_.round_us.push_back(us(drafting + observing));
    times_.drafted += draft.drafted();
    times_.emitted += emitted;
  }

  Drafter& drafter_;
  std::unique_ptr<Target> target_;
  std::unique_ptr<Verifier> verifier_;
  std::unique_ptr<DraftPolicy> policy_;
  Sampler sampler_;
  TimedRounds& times_;
  Tokens committed_;
  bool first_round_ = true;
};

BenchDrafterRow bench_one(const std::string& name, const ConfigValue& description, const BenchDrafterOptions& options,
                          const BenchTexts& texts) {
  BenchDrafterRow row{.drafter = name};
  BuildContext context;
  context.vocab = texts.vocab;
  context.tokenizer = texts.tokenizer;
  context.load_model = [](const std::string&) -> std::shared_ptr<const model::LanguageModel> {
    fail("it needs a model");
  };
  context.load_tokenizer = [](const std::string&) -> std::shared_ptr<const tokenizers::Tokenizer> {
    fail("it needs a model");
  };
  const auto prompt_and_answer = [&](std::size_t i) {
    const auto end_of_prompt = texts.texts[i].begin() + options.context;
    return Request{
        .id = i, .prompt = {texts.texts[i].begin(), end_of_prompt}, .reference = {end_of_prompt, texts.texts[i].end()}};
  };
  const std::optional<double> before = allocated_bytes();
  const auto drafter = Registry<Drafter>::instance().make(description, context);
  if (!drafter->required_hidden_states().empty()) fail("it needs the target's hidden states");
  if (drafter->traits().needs_logits) fail("it needs the target's logits");
  TimedRounds times;
  DrafterTrial trial(*drafter, context, times);
  for (std::size_t i = 0; i < texts.texts.size(); ++i) {
    const Request request = prompt_and_answer(i);
    drafter->check(request);
    trial.run(request);
    if (i + 1 == texts.texts.size() && before) row.bytes = std::max(0.0, *allocated_bytes() - *before);
    trial.end();
  }
  row.rounds = static_cast<int>(times.round_us.size());
  row.round_us = *metrics::median(times.round_us);
  row.draft_us = *metrics::median(times.draft_us);
  row.observe_us = *metrics::median(times.observe_us);
  row.first_us = *metrics::median(times.first_us);
  row.drafted = times.drafted / row.rounds;
  row.emitted = times.emitted / row.rounds;
  return row;
}

}  // namespace

BenchDrafterReport bench_drafter(const BenchDrafterOptions& options) {
  const BenchTexts texts = bench_texts(options);
  BenchDrafterReport report{.vocab = texts.vocab};
  const auto bench = [&](const std::string& name, const std::string& description) {
    return bench_one(name, parse_yaml(description, "--drafter"), options, texts);
  };
  if (options.drafter.starts_with('{')) {
    report.rows.push_back(bench(options.drafter, options.drafter));
    return report;
  }
  for (const std::string& name : names_of<Drafter>(options.drafter)) {
    if (options.drafter == "all" && name == "oracle") continue;  // it looks at the answer
    try {
      report.rows.push_back(bench(name, "{type: " + name + "}"));
    } catch (const Error& error) {
      if (options.drafter != "all") throw;
      report.rows.push_back({.drafter = name, .reason = error.what()});
    }
  }
  return report;
}

}  // namespace foretell::measurement
