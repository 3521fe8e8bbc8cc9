#include "experiments/certify/certificate.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "experiments/certify/real_model.h"
#include "framework/api/verifier.h"
#include "framework/core/error.h"
#include "framework/core/plugin_call.h"
#include "framework/core/registry_names.h"
#include "framework/core/text.h"

namespace foretell::certify {
namespace {

constexpr double kSignificance = 1e-3;
// Where all pairs are certified, each draft and each verifier goes to the transformer once.
constexpr std::string_view kOfAllDrafts = "rejection", kOfAllVerifiers = "chain";
constexpr int kDeepTokens = 5;  // of an answer: four are drafted in its first round

// One exact check.
struct Trial {
  std::shared_ptr<const KnownModel> target;
  Tokens prompt;
  double temperature = 1.0;
  int tokens = 3;
  bool deep = false;
  int top_k = 0;
};

// Of drafters that need a transformer: two or three tokens of its sixteen.
std::vector<Trial> real_trials(const std::shared_ptr<const KnownModel>& target, bool full) {
  const Tokens prompt = prompt_with_repeats(kRealVocab);
  std::vector<Trial> all;
  all.push_back({.target = target, .prompt = prompt, .top_k = 3});
  all.push_back({.target = target, .prompt = prompt, .tokens = kDeepTokens, .deep = true, .top_k = 2});
  if (full) all.push_back({.target = target, .prompt = {1, 2, 1}, .temperature = 0.6, .top_k = 3});
  return all;
}

std::vector<Trial> trials(const DraftCase& draft, bool full, bool lossless) {
  const auto toy = [](int vocab, std::uint64_t seed) -> std::shared_ptr<const KnownModel> {
    return toy_target(vocab, 4096, seed);
  };
  std::vector<Trial> all;
  all.push_back({toy(3, 7), prompt_with_repeats(3)});
  all.push_back({toy(draft.vocab, 13), prompt_with_repeats(draft.vocab), 1.0, kDeepTokens, true});
  // A proof needs every toy; how far off a lossy verifier is can be said of one.
  if (draft.many_branches && !(lossless && full)) return all;
  all.push_back({toy(3, 8), {1, 2, 1}, 0.6});
  if (!full) return all;
  for (const std::uint64_t seed : {9, 10, 11}) all.push_back({toy(3, seed), prompt_with_repeats(3)});
  all.push_back({toy(3, 14), prompt_with_repeats(3), 1.0, kDeepTokens, true});
  if (!draft.many_branches) all.push_back({toy(4, 12), {1, 2, 1}});
  return all;
}

ExactFindings worst(const ExactFindings& a, const ExactFindings& b) {
  ExactFindings out = a;  // expectations stay those of the first toy
  out.total_variation = std::max(a.total_variation, b.total_variation);
  out.later_variation = std::max(a.later_variation, b.later_variation);
  if (b.residual_variation) out.residual_variation = std::max(a.residual_variation.value_or(0), *b.residual_variation);
  out.exercise += b.exercise;
  return out;
}

double variation(const ExactFindings& found) {
  return std::max({found.total_variation, found.later_variation, found.residual_variation.value_or(0)});
}

// The checks of one pipeline, each when it is asked for.
class Checks {
 public:
  Checks(SetupOn on, const PipelineClaim& claim)
      : on_(std::move(on)), claim_(claim), on_toys_(builds_on_toys(on_)), real_(real_target_for(on_)) {}

  bool on_toys() const { return on_toys_; }
  Complaint real(Exercise& exercise) const {
    return check_real(on_(real_, false), {.lossless = claim_.lossless}, &exercise);
  }

  std::optional<std::string> incompatibility(double temperature) const {
    return certify::incompatibility(large(), temperature);
  }
  bool drafts_nothing() const { return large().drafter()->limits().nodes == 0; }
  bool several_proposals() const {
    const DraftForm form = large().drafter()->form();
    return form.tree || form.several_distributions;
  }
  Complaint identity(Exercise& exercise) const { return check_identity(large(), &exercise); }

  ChiSquare sampled() const {
    const int vocab = claim_.draft.vocab;
    if (!on_toys_)
      return chi_square(on_(real_, false),
                        {.trials = claim_.full ? 5000 : 1000, .prompt = prompt_with_repeats(kRealVocab), .top_k = 3});
    const bool one_level = vocab > 3;  // there six tokens are drafted from two or three in an answer of seven
    return chi_square(on_(toy_target(vocab, 4096, 13), one_level), {.trials = claim_.full ? 10000 : 3000,
                                                                    .prompt = prompt_with_repeats(vocab),
                                                                    .tokens = one_level ? 3 : kDeepTokens + 2});
  }

  // One after the other; `take` says whether to go on.
  void exact(const std::function<bool(const ExactFindings&)>& take, std::vector<std::string>& not_walked) const {
    for (const Trial& trial :
         on_toys_ ? trials(claim_.draft, claim_.full, claim_.lossless) : real_trials(real_, claim_.full)) {
      const auto found = walk(trial, not_walked);
      if (found && !take(*found)) return;
    }
  }

 private:
  Setup large() const { return on_(on_toys_ ? toy_target(11) : real_, false); }

  // All rounds where that can be, else the first one alone.
  std::optional<ExactFindings> walk(const Trial& trial, std::vector<std::string>& not_walked) const {
    const Setup setup = on_(trial.target, trial.deep);
    ExactOptions options{
        .prompt = trial.prompt, .tokens = trial.tokens, .temperature = trial.temperature, .top_k = trial.top_k};
    options.most_paths = claim_.lossless && !trial.deep ? 200'000 : claim_.full ? 20'000 : 6'000;
    if (!on_toys_) options.most_paths = claim_.full ? 5'000 : trial.deep ? 500 : 2'000;  // a forward is no look-up
    const std::string what = fmt::format("{} of {}", counted(trial.tokens, "token"), trial.target->config().vocab_size);
    if (!trial.deep || !claim_.draft.many_branches || claim_.full)
      if (auto found = enumerate_up_to(setup, options)) return found;
    options.rounds = 1;
    auto found = enumerate_up_to(setup, options);
    not_walked.push_back(what + (found ? ": too many branches behind the first round"
                                       : fmt::format(": too many branches (more than {})", options.most_paths)));
    return found;
  }

  SetupOn on_;
  PipelineClaim claim_;
  bool on_toys_;
  std::shared_ptr<const KnownModel> real_;  // where a toy will not do
};

// What the biased verifiers do on one draft. Kept for all rows of it: they differ in the verifier only.
class ControlGroup {
 public:
  ControlGroup(const SetupOn& on, const PipelineClaim& claim) {
    for (const Control& control : controls()) {
      const auto biased = [on, make = control.make](std::shared_ptr<const KnownModel> target, bool deep) {
        Setup setup = on(std::move(target), deep);
        setup.verifier = make;
        return setup;
      };
      entries_.push_back({&control, Checks(biased, claim)});
    }
  }

  // Those that are to be told from the verifier of that row, each with what the row's own checks say of it.
  std::vector<ControlFinding> judge(const CertificateRow& row) {
    std::vector<ControlFinding> out;
    for (Entry& entry : entries_) {
      if (entry.control->needs_siblings && !entry.checks.several_proposals()) continue;
      if (!entry.control->greedy && !row.exact && !row.sampled) continue;
      ControlFinding finding{.name = entry.control->name};
      entry.control->greedy ? judge_greedy(entry, finding) : judge_sampled(entry, row, finding);
      out.push_back(std::move(finding));
    }
    return out;
  }

 private:
  struct Entry {
    const Control* control;
    Checks checks;
    std::optional<bool> differs = {};
    std::optional<double> variation = {}, p_value = {};
  };

  static void judge_greedy(Entry& entry, ControlFinding& finding) {
    Exercise exercise;
    if (!entry.differs) entry.differs = entry.checks.identity(exercise).has_value();
    finding.differs = entry.differs;
    finding.caught = *entry.differs;
  }

  static void judge_sampled(Entry& entry, const CertificateRow& row, ControlFinding& finding) {
    if (row.exact) {
      if (!entry.variation) {
        std::vector<std::string> not_walked;
        entry.variation = 0;
        entry.checks.exact(
            [&](const ExactFindings& found) {
              entry.variation = std::max(*entry.variation, variation(found));
              return !complaint_of(found);
            },
            not_walked);
      }
      finding.variation = entry.variation;
      finding.caught = *entry.variation > row.exact->rounding;
    }
    if (finding.caught) return;
    if (!entry.p_value) entry.p_value = entry.checks.sampled().p_value;
    finding.p_value = entry.p_value;
    finding.caught = *entry.p_value < kSignificance;
  }

  std::vector<Entry> entries_;
};

// What was not exercised, in words; empty if all was.
std::string idle_checks(const CertificateRow& row) {
  std::string out;
  const auto look = [&](const Exercise& exercise, const char* where) {
    if (const std::string missing = exercise.missing(row.registered_lossless); !missing.empty())
      out += fmt::format("{}{} {}", out.empty() ? "" : "; ", missing, where);
  };
  if (row.exact) look(row.exact->exercise, "in enumeration");
  if (row.sampled) look(row.sampled->exercise, "in the chi-square test");
  look(row.greedy, "at temperature 0");
  if (row.real && row.registered_lossless) look(row.real_exercise, "on a random transformer");
  return out;
}

std::string uncaught_controls(const CertificateRow& row) {
  std::string out;
  for (const ControlFinding& control : row.controls) {
    if (control.caught) continue;
    const std::string how =
        control.differs ? "the greedy text" : fmt::format("chi-square p {:.3f}", control.p_value.value_or(1));
    out += fmt::format("{}a verifier that {} passes, too ({})", out.empty() ? "" : "; ", control.name, how);
  }
  return out;
}

bool shows_a_loss(const CertificateRow& row) {
  return (row.exact && variation(*row.exact) > row.exact->rounding) ||
         (row.sampled && row.sampled->p_value < kSignificance) || row.identical == false || row.real == false;
}

// `complaint`: what a check found wrong.
void rule(CertificateRow& row, bool drafts_nothing, const std::string& complaint) {
  const auto say = [&](Ruling verdict, std::string reason) {
    row.verdict = verdict;
    row.reason = std::move(reason);
  };
  if (row.registered_lossless && !complaint.empty()) return say(Ruling::Failed, complaint);
  if (drafts_nothing) return say(Ruling::PlainDecoding, "the drafter drafts nothing: no verdict was reached");
  if (std::string idle = idle_checks(row); !idle.empty()) return say(Ruling::NotExercised, std::move(idle));
  if (!row.registered_lossless && shows_a_loss(row)) return say(Ruling::Lossy, "");
  if (std::string passed = uncaught_controls(row); !passed.empty()) return say(Ruling::WithoutPower, std::move(passed));
  if (!row.registered_lossless) return say(Ruling::NotExercised, "registered lossy, and no loss showed");
  say(Ruling::Lossless, "");
}

CertificateRow certify_pair(const SetupOn& on, const PipelineClaim& claim, ControlGroup& control_group) {
  CertificateRow row{.verifier = claim.verifier, .draft = claim.draft.name, .registered_lossless = claim.lossless};
  const Checks checks(on, claim);
  if (const auto why = checks.incompatibility(0.0)) {
    row.reason = *why;
    return row;
  }
  std::string complaint = checks.identity(row.greedy).value_or("");
  row.identical = complaint.empty();
  if (!checks.incompatibility(1.0)) {
    checks.exact(
        [&](const ExactFindings& found) {
          row.exact = row.exact ? worst(*row.exact, found) : found;
          if (complaint.empty()) complaint = complaint_of(found).value_or("");
          return true;
        },
        row.not_walked);
    row.sampled = checks.sampled();
  }
  row.on_toys = checks.on_toys();
  if (claim.real) {
    const Complaint found = checks.real(row.real_exercise);
    row.real = !found;
    if (complaint.empty() && found) complaint = "on a random transformer: " + *found;
  }
  const bool drafts_nothing = checks.drafts_nothing();
  if (!drafts_nothing) row.controls = control_group.judge(row);
  rule(row, drafts_nothing, complaint);
  return row;
}

// A plug-in that breaks its contract has failed, whatever its verifier is registered as.
CertificateRow failed_if_broken(const PipelineClaim& claim, const std::function<CertificateRow()>& certified) {
  try {
    return certified();
  } catch (const PluginError& error) {
    return {.verifier = claim.verifier, .draft = claim.draft.name, .verdict = Ruling::Failed, .reason = error.what()};
  }
}

// The step-down rule of Holm: the i-th smallest of n p-values is significant if it and all smaller ones are below level
// / (n - i).
void judge_chi_squares(std::vector<CertificateRow>& rows) {
  std::vector<CertificateRow*> tested;
  for (CertificateRow& row : rows)
    if (row.registered_lossless && row.sampled) tested.push_back(&row);
  std::sort(tested.begin(), tested.end(),
            [](const auto* a, const auto* b) { return a->sampled->p_value < b->sampled->p_value; });
  for (std::size_t i = 0; i < tested.size(); ++i) {
    const double p = tested[i]->sampled->p_value;
    if (p >= kSignificance / static_cast<double>(tested.size() - i)) return;
    if (tested[i]->verdict != Ruling::Failed)
      tested[i]->reason = fmt::format("chi-square test with the production generator: p = {:.2g}", p);
    tested[i]->verdict = Ruling::Failed;
  }
}

SetupOn registered(const DraftCase& draft, const std::string& verifier) {
  return [=](std::shared_ptr<const KnownModel> target, bool deep) {
    const auto of = [deep](const std::string& deep_form, const std::string& form) {
      return deep && !deep_form.empty() ? deep_form : form;
    };
    return toy_setup(of(draft.deep_drafter, draft.drafter), verifier, of(draft.deep_tree, draft.tree),
                     std::move(target));
  };
}

bool builds_on(const SetupOn& on, const std::shared_ptr<const KnownModel>& target) {
  try {
    on(target, false).drafter();
    return true;
  } catch (const PluginError&) {
    throw;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

bool builds_on_toys(const SetupOn& on) {
  try {
    on(toy_target(3), false).drafter();
    return true;
  } catch (const PluginError&) {
    throw;
  } catch (const Error&) {
    for (const RealLayers layers : {RealLayers::Dense, RealLayers::Mixture})
      if (builds_on(on, real_target(1024, layers))) return false;
    throw;
  }
}

std::shared_ptr<const KnownModel> real_target_for(const SetupOn& on, int context) {
  const bool mixture = !builds_on(on, real_target()) && builds_on(on, real_target(1024, RealLayers::Mixture));
  return real_target(context, mixture ? RealLayers::Mixture : RealLayers::Dense);
}

const char* to_string(Ruling ruling) {
  switch (ruling) {
    case Ruling::Lossless: return "lossless";
    case Ruling::Lossy: return "lossy";
    case Ruling::PlainDecoding: return "plain decoding";
    case Ruling::NotExercised: return "not exercised";
    case Ruling::WithoutPower: return "without power";
    case Ruling::Failed: return "FAILED";
    case Ruling::NotApplicable: break;
  }
  return "refused";
}

Exercise CertificateRow::exercise() const {
  Exercise all = greedy;
  if (exact) all += exact->exercise;
  if (sampled) all += sampled->exercise;
  all += real_exercise;
  return all;
}

bool passes(const CertificateRow& row, bool by_name) {
  const bool untested = row.verdict == Ruling::NotExercised || row.verdict == Ruling::WithoutPower;
  return row.verdict != Ruling::Failed && !(by_name && untested && row.registered_lossless);
}

CertificateRow certify_pipeline(const SetupOn& on, const PipelineClaim& claim) {
  ControlGroup control_group(on, claim);
  std::vector<CertificateRow> rows{certify_pair(on, claim, control_group)};
  judge_chi_squares(rows);
  return std::move(rows.front());
}

std::vector<CertificateRow> certify(const CertificateOptions& options) {
  const std::vector<std::string> names = names_of<Verifier>(options.verifier);
  const std::vector<DraftCase> drafts =
      options.attention ? attention_cases(*options.attention) : draft_cases(options.drafter);
  std::vector<CertificateRow> rows;
  std::map<std::string, ControlGroup> control_groups;  // by draft
  const bool by_name = options.verifier != "all" || options.drafter != "all" || options.attention;
  // A verifier is told a draft's shape and distributions, not where they come from: in a quick look at all of them,
  // drafts of one kind meet one verifier.
  const auto meets_one = [&](const DraftCase& draft) { return draft.follows_another && !by_name && !options.full; };
  const auto is_left_out = [&](const std::string& verifier, const DraftCase& draft) {
    return meets_one(draft) && verifier != kOfAllDrafts;
  };
  int count = 0;
  for (const std::string& name : names)
    for (const DraftCase& draft : drafts) count += !is_left_out(name, draft);
  for (const std::string& name : names) {
    const bool lossless = Registry<Verifier>::instance().find(name, {}).info.lossless.value_or(false);
    for (const DraftCase& draft : drafts) {
      if (is_left_out(name, draft)) continue;
      if (options.on_row) options.on_row(static_cast<int>(rows.size()), count);
      PipelineClaim claim{.verifier = name, .draft = draft, .lossless = lossless, .full = options.full};
      claim.real = by_name || options.full || name == kOfAllDrafts || draft.name == kOfAllVerifiers;
      // Controls stand in the verifier's place: which one is registered does not matter.
      PipelineClaim of_control = claim;
      of_control.real = false;
      of_control.lossless = true;  // as thorough as for those that claim to be
      rows.push_back(failed_if_broken(claim, [&] {
        const auto group = control_groups.try_emplace(draft.name, registered(draft, "rejection"), of_control).first;
        return certify_pair(registered(draft, name), claim, group->second);
      }));
      rows.back().only_verifier = meets_one(draft);
    }
  }
  judge_chi_squares(rows);
  return rows;
}

}  // namespace foretell::certify
