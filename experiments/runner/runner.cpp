#include "experiments/runner/runner.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "experiments/analysis/divergence_search.h"
#include "experiments/analysis/quality.h"
#include "experiments/cell/manifest.h"
#include "experiments/cell/run_prompts.h"
#include "experiments/results/answer_rows.h"
#include "experiments/results/distribution_record.h"
#include "experiments/results/record_json.h"
#include "experiments/results/store.h"
#include "experiments/results/summary_check.h"
#include "experiments/runner/machine_watch.h"
#include "experiments/runner/pipeline_runner.h"
#include "experiments/util/interrupt.h"
#include "framework/core/error.h"
#include "framework/core/rng.h"
#include "framework/core/text.h"
#include "framework/kernels/worker_threads.h"
#include "framework/measurement/thread_pinning.h"

namespace foretell::runner {
namespace {

using Records = std::vector<results::GenerationRecord>;

double tokens_of(const Records& records) {
  double tokens = 0;
  for (const results::GenerationRecord& record : records) tokens += static_cast<double>(record.tokens.size());
  return tokens;
}

// A cell on its way: what is on disk, and what runs it.
struct Member {
  const study::Cell* cell;
  int task;  // of the progress
  results::Store store;
  cell::CellSetup setup;
  nlohmann::ordered_json manifest;
  std::map<int, Records> complete = {};  // by batch
  bool was_finished = false;
  Answers own_answers = {};
  std::optional<PipelineRunner> arm = {};

  bool misses(int batch) const { return !complete.contains(batch); }
};

results::FoldOptions fold_options(const study::Cell& cell, const cell::CellSetup& setup) {
  const auto ns = [](const std::optional<double>& ms) { return ms ? std::optional(*ms * 1e6) : std::nullopt; };
  return {.timed = setup.timed(),
          .sampled = !cell.sampling.greedy(),
          .is_baseline = cell.is_baseline,
          .drafts = !drafts_nothing(cell.pipeline),
          .seed = static_cast<std::uint64_t>(cell.run.seed),
          .targets = {ns(cell.run.slo_ttft_ms), ns(cell.run.slo_tpot_ms), ns(cell.run.slo_latency_ms)},
          .stated_watts = cell.run.power_watts};
}

// The records of the batches that are complete: each turn of each conversation in each repeat, of both pipelines.
std::map<int, Records> complete_batches(const study::Cell& cell, const cell::CellSetup& setup, Records records) {
  const std::vector<Batch> batches = batches_of(cell, setup.workload);
  std::map<std::string, int> batch_of;
  std::vector<std::size_t> expected(batches.size(), 0);
  const std::size_t runs = static_cast<std::size_t>(cell.run.repeats) * (setup.baseline.empty() ? 1 : 2);
  for (int b = 0; b < static_cast<int>(batches.size()); ++b) {
    for (int c = batches[b].first; c < batches[b].last; ++c) {
      batch_of[setup.workload.conversations[c].id] = b;
      expected[b] += setup.workload.conversations[c].turns.size() * runs;
    }
  }
  std::map<results::GenerationKey, results::GenerationRecord> unique;
  for (results::GenerationRecord& record : records) {
    const bool has_rounds = !record.rounds.empty() || record.tokens.empty();
    if (has_rounds && batch_of.contains(record.conversation))
      unique.insert_or_assign(key_of(record), std::move(record));
  }
  std::map<int, Records> by_batch;
  for (auto& [key, record] : unique) by_batch[batch_of.at(record.conversation)].push_back(std::move(record));
  std::erase_if(by_batch, [&](const auto& entry) { return entry.second.size() != expected[entry.first]; });
  return by_batch;
}

class GroupRunner {
 public:
  GroupRunner(const GroupPlan& plan, const RunContext& context) : plan_(plan), context_(context) {
    if (context.energy.counts())
      joules_ = [&energy = context.energy]() -> std::optional<double> {
        energy.update();
        return energy.used(0).joules();
      };
  }

  std::vector<analysis::CellResult> run() {
    const study::RunSection& run = plan_.cells.front()->run;
    kernels::use_threads(run.threads);
    const measurement::PinnedThreads pinned(run.pin_threads);
    pinned_ = pinned.pinned();
    for (std::size_t i = 0; i < plan_.cells.size(); ++i) open(*plan_.cells[i], plan_.tasks[i]);
    context_.pool.forget_unused();
    begin();
    run.interleave ? run_interleaved() : run_one_after_another();
    std::vector<analysis::CellResult> results;
    for (const auto& member : members_) results.push_back(conclude(*member));
    if (plan_.baseline_task >= 0 && !util::interrupted()) context_.progress.finish(plan_.baseline_task);
    return results;
  }

 private:
  void open(const study::Cell& cell, int task) {
    auto member = std::make_unique<Member>(
        Member{&cell, task, results::Store(results::cell_folder(context_.results, context_.study, cell)), {}, {}});
    const std::optional<results::ResultJson> old = context_.fresh ? std::nullopt : member->store.manifest();
    member->setup = cell::set_up_cell(cell, context_.study.file.parent_path(), context_.pool,
                                      {.known = old ? cell::recorded_costs(*old) : nullptr});
    cell::CellSetup& setup = member->setup;
    // A replay may draft with the model although this cell does not.
    if (setup.timed() && !setup.costs)
      setup.costs =
          context_.pool.row_costs(setup.target_folder, context_.recording ? setup.draft_folder : setup.drafting_folder,
                                  cell::load_options(cell.model.dtype, cell.model.device, cell.model.kv_dtype));
    member->manifest = cell::make_manifest(context_.study, cell, setup);
    member->manifest["passes"].back()["threads_pinned"] = pinned_;
    if (old) {
      if (const auto why = cell::cannot_go_on(*old, member->manifest))
        fail("{}: {}; --fresh runs the cell again from its start, another --out keeps both",
             member->store.folder().string(), *why);
      if (cell::has_old_hashes(*old))
        context_.progress.note(
            old->where().file +
            ": has the hashes of an older Foretell, which miss some changes of weights; they are equal");
      member->manifest = cell::continued(*old, member->manifest);
      take_up(*member, results::read_records(member->store.folder()));
    }
    members_.push_back(std::move(member));
  }

  // What an earlier run has left and is whole; what is damaged is run again.
  void take_up(Member& member, results::RecordsRead read) {
    note_each("damaged, and run again: ", read.damage);
    note_each("cut short, and run again: ", read.unanswered);
    const std::string damage = damage_of(read, member.store.folder());
    const bool is_noted = !read.damage.empty() || !read.unanswered.empty();
    const bool finished = damage.empty() && member.store.finished();
    member.complete = complete_batches(*member.cell, member.setup, std::move(read.records));
    const std::vector<std::string> missing = missing_prompts(member);
    member.was_finished = finished && missing.empty();
    if (is_noted) return;
    if (!damage.empty()) context_.progress.note("damaged, and made again from the records: " + damage);
    if (finished || !damage.empty()) note_each("missing, and run again: ", missing);
  }

  void note_each(const char* what, const std::vector<std::string>& lines) {
    constexpr std::size_t kNoted = 5;
    for (std::size_t i = 0; i < std::min(kNoted, lines.size()); ++i) context_.progress.note(what + lines[i]);
    if (lines.size() > kNoted) context_.progress.note(fmt::format("and {} more", lines.size() - kNoted));
  }

  static std::vector<std::string> missing_prompts(const Member& member) {
    const std::vector<Batch> batches = batches_of(*member.cell, member.setup.workload);
    std::vector<std::string> out;
    for (int b = 0; b < static_cast<int>(batches.size()); ++b)
      for (int c = batches[b].first; c < batches[b].last && member.misses(b); ++c)
        out.push_back(fmt::format("prompt '{}'", member.setup.workload.conversations[c].id));
    return out;
  }

  void begin() {
    batches_ = batches_of(*members_.front()->cell, members_.front()->setup.workload);
    std::vector<int> active;
    for (const auto& member : members_) {
      int done = 0;
      for (const auto& [batch, records] : member->complete) done += batches_[batch].last - batches_[batch].first;
      context_.progress.set_done(member->task, done * member->cell->run.repeats);
      if (member->was_finished) continue;
      Records kept;
      for (const auto& [batch, records] : member->complete) kept.insert(kept.end(), records.begin(), records.end());
      member->store.begin(*member->cell, member->manifest, kept);
      if (member->complete.size() < batches_.size()) running_.push_back(member.get());
      active.push_back(member->task);
    }
    if (plan_.baseline_task >= 0)
      context_.progress.set_done(plan_.baseline_task, (conversations() - missing_conversations()) * repeats());
    context_.progress.set_active(std::move(active));
    if (running_.empty()) return;
    for (Member* member : running_)
      if (!baseline_ && !member->setup.baseline.empty())
        baseline_.emplace(results::PipelineVariant::Baseline, *member->cell, member->setup, answers_, joules_);
    for (Member* member : running_)
      if (!(baseline_ && member->cell->is_baseline))
        member->arm.emplace(results::PipelineVariant::Method, *member->cell, member->setup,
                            baseline_ ? answers_ : member->own_answers, joules_);
    warm_up(*running_.front());
  }

  int conversations() const { return static_cast<int>(members_.front()->setup.workload.conversations.size()); }
  int repeats() const { return members_.front()->cell->run.repeats; }
  int missing_conversations() const {
    int missing = 0;
    for (int b = 0; b < static_cast<int>(batches_.size()); ++b)
      if (!missing_at(b).empty()) missing += batches_[b].last - batches_[b].first;
    return missing;
  }

  void warm_up(const Member& first) {
    if (!first.setup.timed()) return;
    const Batch batch{0, std::min(first.cell->run.batch_size, conversations())};
    for (int i = 0; i < first.cell->run.warmup && !util::interrupted(); ++i) {
      if (baseline_) baseline_->warm_up(batch);
      for (Member* member : running_)
        if (member->arm) member->arm->warm_up(batch);
    }
    answers_.forget();
    for (Member* member : running_) member->own_answers.forget();
  }

  // Tells what has this batch already of it, when its turn comes: strategies that remember meet the prompts in their
  // order, also where one in the middle is run again.
  void catch_up_baseline(int batch) {
    const auto paired =
        std::find_if(running_.begin(), running_.end(), [](const Member* m) { return !m->setup.baseline.empty(); });
    if (missing_at(batch).empty()) baseline_->catch_up(batches_[batch], (*paired)->complete.at(batch));
  }
  void catch_up(Member& member, int batch) {
    if (member.arm && !member.misses(batch)) member.arm->catch_up(batches_[batch], member.complete.at(batch));
  }

  std::vector<Member*> missing_at(int batch) const {
    std::vector<Member*> out;
    std::copy_if(running_.begin(), running_.end(), std::back_inserter(out),
                 [&](const Member* m) { return m->misses(batch); });
    return out;
  }

  // The order of the cells in one repeat of one batch.
  void shuffle(std::vector<Member*>& members, int batch, int repeat) const {
    PhiloxRng rng({.seed = static_cast<std::uint64_t>(members.front()->cell->run.seed),
                   .request = static_cast<std::uint64_t>(batch) << 32 | static_cast<std::uint32_t>(repeat),
                   .position = 2,
                   .purpose = RngPurpose::Workload});
    for (std::size_t i = members.size(); i > 1; --i) std::swap(members[i - 1], members[rng.below(i)]);
  }

  // False: an open loop was interrupted, and what it gave is no whole batch.
  bool run_arm(PipelineRunner& arm, int task, int batch, int repeat, bool counted, Records& records) {
    const Batch& conversations = batches_[batch];
    const Stopwatch watch;
    Records more = arm.run(conversations, repeat);
    context_.progress.advance(task, counted ? conversations.last - conversations.first : 0,
                              static_cast<double>(watch.elapsed_ns()) * 1e-9, tokens_of(more));
    std::move(more.begin(), more.end(), std::back_inserter(records));
    if (!util::interrupted()) return true;
    if (!std::exchange(told_, true))
      context_.progress.note("interrupted: finishing this prompt; once more ends at once and loses it");
    return !arm.cell().run.request_rate;
  }

  // What a batch gave: of the baseline, if it took part, and of each member.
  struct Attempt {
    Records baseline = {};
    std::map<Member*, Records> own = {};
  };

  // All repeats of one batch. Nothing where an open loop was interrupted. `counted`: progress is told that the prompts
  // are done.
  std::optional<Attempt> attempt(int batch, std::vector<Member*> members, bool with_baseline, bool counted) {
    Attempt out;
    for (int repeat = 0; repeat < repeats(); ++repeat) {
      if (with_baseline && !run_arm(*baseline_, plan_.baseline_task, batch, repeat, counted, out.baseline))
        return std::nullopt;
      if (members.size() > 1) shuffle(members, batch, repeat);
      for (Member* member : members)
        if (member->arm && !run_arm(*member->arm, member->task, batch, repeat, counted, out.own[member]))
          return std::nullopt;
    }
    return out;
  }

  // The same, again where others had the processors and the study's noise gate is on.
  std::optional<Attempt> quiet_attempt(int batch, const std::vector<Member*>& members, bool with_baseline) {
    std::optional<Attempt> best = attempt(batch, members, with_baseline, true);
    const study::RunSection& run = members_.front()->cell->run;
    if (!run.noise_gate || !best) return best;
    double least = contention_of(*best);
    for (int again = 1; again <= run.noise_gate_repeats && least > *run.noise_gate && !util::interrupted(); ++again) {
      if (!may_repeat(members, with_baseline)) break;
      context_.progress.note(fmt::format(
          "prompt {}: threads waited {:.0f}% of their time for processors that others had; once more ({} of {})",
          members_.front()->setup.workload.conversations[batches_[batch].first].id, 100 * least, again,
          run.noise_gate_repeats));
      wait_for_quiet(run.noise_gate_pause, at::get_num_threads());
      std::optional<Attempt> next = attempt(batch, members, with_baseline, false);
      if (!next) break;
      if (const double waited = contention_of(*next); waited < least) {
        least = waited;
        best = std::move(next);
      }
    }
    return best;
  }

  // A strategy that remembers prompts has seen this one: it would draft from its own answer.
  bool may_repeat(const std::vector<Member*>& members, bool with_baseline) {
    const bool state =
        std::any_of(members.begin(), members.end(), [](const Member* m) { return m->setup.method_has_state; }) ||
        (with_baseline && members_.front()->setup.baseline_has_state);
    if (state && !std::exchange(told_state_, true))
      context_.progress.note(
          "noise_gate: strategies that remember earlier prompts are not run twice; what they waited is told");
    return !state;
  }

  static double contention_of(const Attempt& attempt) {
    double waited = 0, all = 0;
    const auto add = [&](const Records& records) {
      for (const results::GenerationRecord& record : records) {
        waited += record.contention.value_or(0) * static_cast<double>(record.wall_ns);
        all += static_cast<double>(record.wall_ns);
      }
    };
    add(attempt.baseline);
    for (const auto& [member, records] : attempt.own) add(records);
    return all > 0 ? waited / all : 0;
  }

  // `own` is empty for a cell that is the baseline itself.
  void keep(Member& member, int batch, const Records& baseline, Records own) {
    Records records = baseline;
    if (!member.arm) {
      for (results::GenerationRecord& record : records) record.arm = results::PipelineVariant::Method;
      context_.progress.advance(member.task, (batches_[batch].last - batches_[batch].first) * repeats(), 0, 0);
    }
    std::move(own.begin(), own.end(), std::back_inserter(records));
    member.store.append(records);
    member.complete[batch] = std::move(records);
  }

  void run_interleaved() {
    for (int b = 0; b < static_cast<int>(batches_.size()) && !util::interrupted(); ++b) {
      std::vector<Member*> members = missing_at(b);
      if (baseline_) catch_up_baseline(b);
      for (Member* member : running_) catch_up(*member, b);
      if (members.empty()) continue;
      std::optional<Attempt> made = quiet_attempt(b, members, baseline_.has_value());
      if (!made) return;
      for (Member* member : members) keep(*member, b, made->baseline, std::move(made->own[member]));
    }
  }

  void run_one_after_another() {
    std::map<int, Records> baseline;
    for (int b = 0; baseline_ && b < static_cast<int>(batches_.size()) && !util::interrupted(); ++b) {
      catch_up_baseline(b);
      if (missing_at(b).empty()) continue;
      std::optional<Attempt> made = quiet_attempt(b, {}, true);
      if (!made) return;
      baseline[b] = std::move(made->baseline);
    }
    for (Member* member : running_) {
      for (int b = 0; b < static_cast<int>(batches_.size()) && !util::interrupted(); ++b) {
        catch_up(*member, b);
        if (!member->misses(b)) continue;
        std::optional<Attempt> made = quiet_attempt(b, {member}, false);
        if (!made) return;
        keep(*member, b, baseline[b], std::move(made->own[member]));
      }
    }
  }

  // Folds what the cell has, and writes what is made of it.
  analysis::CellResult conclude(Member& member) {
    const study::Cell& cell = *member.cell;
    cell::CellSetup& setup = member.setup;
    const bool complete = member.complete.size() == batches_.size();
    Records records;
    if (member.was_finished) {
      records = results::undamaged_records(member.store.folder());  // with their quality
    } else {
      for (auto& [batch, more] : member.complete) std::move(more.begin(), more.end(), std::back_inserter(records));
      if (complete && setup.greedy) {
        analysis::measure_quality(cell, setup, records, quality_counter(cell, records));
        context_.progress.set_activity("");
        member.store.write_quality(records);
      }
      if (setup.workload.type == "spec_bench") member.store.write_answers(results::answer_rows(records, cell));
    }
    const results::FoldOptions options = fold_options(cell, setup);
    analysis::CellResult result{cell,
                                results::fold(records, options),
                                setup.workload.tasks,
                                member.store.folder(),
                                setup.timed(),
                                setup.inflated()};
    result.complete = complete;
    analysis::judge_timing(cell, setup, records, result.summary);
    const results::TaskSummary& overall = result.summary.at("overall");
    result.performance = member.was_finished
                             ? analysis::performance_from(member.store.summary()->view().find("performance"), overall)
                             : analysis::performance_of(cell, setup, records, overall);
    add_distributions(member, records, result);
    result.lossless = setup.like_baseline(cell);
    result.keeps = setup.lossless(cell);
    if (complete)
      result.divergences = member.was_finished ? analysis::divergences_from(member.store.divergence())
                                               : divergences_of(cell, setup, records);
    if (complete) {
      result.prediction = member.was_finished ? analysis::prediction_from(member.store.prediction())
                                              : context_.predictor.predict(cell, setup, records);
      context_.progress.finish(member.task);
    }
    if (member.was_finished) return result;
    if (result.prediction) member.store.write_prediction(to_json(result.prediction));
    if (result.divergences) member.store.write_divergence(to_json(*result.divergences));
    member.store.write_summary(analysis::summary_json(context_.study, result, options));
    return result;
  }

  // What the distributions of a cell, recorded or replayed, add to its result.
  void add_distributions(const Member& member, const Records& records, analysis::CellResult& result) {
    const cell::CellSetup& setup = member.setup;
    if (setup.distributions) result.notes.push_back(setup.distributions->words());
    if (setup.clock && member.cell->run.batch_size == 1) result.speedup_by_costs = setup.clock->speedup(records);
    const bool recorded = member.was_finished && results::distributions_in(member.store.folder());
    if (!context_.recording || !result.complete || recorded) return;
    const auto count = [this, name = member.cell->name, total = answers_to_record(records), done = 0]() mutable {
      context_.progress.set_activity(fmt::format("{}, distributions: {}/{}", name, ++done, counted(total, "answer")));
    };
    result.notes.push_back(
        record_distributions(*context_.recording, *member.cell, setup, records, member.store.folder(), count));
    context_.progress.set_activity("");
  }

  // Where a lossless cell's tokens are not its baseline's. Nothing where they need not be, or where the user ended it.
  std::optional<analysis::Divergences> divergences_of(const study::Cell& cell, const cell::CellSetup& setup,
                                                      const Records& records) {
    if (!setup.model || !cell.baseline || !cell.sampling.greedy() || !setup.like_baseline(cell) ||
        study::has_rules(cell.pipeline))  // ties are looked for in the checkpoint's logits
      return std::nullopt;
    const cell::RunPrompts prompts(setup, records);
    const auto count = [this, &cell, done = 0]() mutable {
      context_.progress.set_activity(fmt::format("{}, differences from the baseline: {} judged", cell.name, ++done));
    };
    const analysis::DivergenceSource source{
        .target = *setup.model,
        .sampling = cell.sampling,
        .precision = analysis::Precision::of(cell::number_type(cell.model.dtype, setup.model->config())),
        .tokenizer = setup.tokenizer.get(),
        .prompt = [&](const results::GenerationRecord& record) { return prompts.of(record); },
        .on_judged = count};
    const analysis::Divergences out =
        analysis::find_divergences(analysis::answers_by_place(records, results::PipelineVariant::Method, 1),
                                   analysis::answers_by_place(records, results::PipelineVariant::Baseline, 1), source);
    context_.progress.set_activity("");
    return out.whole ? std::optional(out) : std::nullopt;
  }

  std::function<void()> quality_counter(const study::Cell& cell, const Records& records) {
    return [this, name = cell.name, total = analysis::answers_to_measure(records), done = 0]() mutable {
      context_.progress.set_activity(fmt::format("{}, quality: {}/{}", name, ++done, counted(total, "answer")));
    };
  }

  const GroupPlan& plan_;
  const RunContext& context_;
  EnergyCounter joules_;  // empty where the machine counts none
  bool pinned_ = false, told_ = false, told_state_ = false;
  std::vector<Batch> batches_;
  std::vector<std::unique_ptr<Member>> members_;  // in the order of the plan
  std::vector<Member*> running_;                  // those that have something left to run
  Answers answers_;
  std::optional<PipelineRunner> baseline_;
};

}  // namespace

std::vector<GroupPlan> plan_groups(const std::vector<study::Cell>& cells, const std::vector<int>& prompts,
                                   StudyProgress& progress) {
  std::vector<GroupPlan> plans;
  std::map<std::string, std::size_t> known;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const study::Cell& cell = cells[i];
    const auto [it, added] = known.emplace(cell.group, plans.size());
    if (added) plans.emplace_back();
    GroupPlan& plan = plans[it->second];
    const int runs = prompts[i] * cell.run.repeats;
    plan.cells.push_back(&cell);
    plan.tasks.push_back(progress.add(cell.name, runs));
    if (cell.baseline && plan.baseline_task < 0 && cell::model_type(cell.model.target) != "replay")
      plan.baseline_task = progress.add("baseline", runs, false);
  }
  return plans;
}

std::vector<analysis::CellResult> run_group(const GroupPlan& plan, const RunContext& context) {
  return GroupRunner(plan, context).run();
}

}  // namespace foretell::runner
