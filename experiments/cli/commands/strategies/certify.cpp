#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "experiments/certify/certificate.h"
#include "experiments/certify/exits.h"
#include "experiments/certify/routing.h"
#include "experiments/cli/commands/strategies/commands.h"
#include "experiments/study/plugins.h"
#include "experiments/util/console.h"
#include "experiments/util/negative_result.h"
#include "experiments/util/progress.h"
#include "experiments/util/table.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/core/text.h"

namespace foretell::cli::commands::strategies {
namespace {

struct CertifyOptions {
  certify::CertificateOptions settings;
  std::optional<std::string> router, exit;
  std::vector<std::string> plugins;
  bool json = false;
};

std::string number(const std::optional<double>& value, const char* format) {
  return value ? fmt::format(fmt::runtime(format), *value) : "-";
}

nlohmann::ordered_json json_of(const certify::Exercise& exercise) {
  nlohmann::ordered_json out = {{"drafted", exercise.drafted},
                                {"accepted", exercise.accepted},
                                {"rejected", exercise.rejected},
                                {"most_accepted_in_a_round", exercise.deepest}};
  auto members = nlohmann::ordered_json::array();
  for (const certify::MemberCounts& member : exercise.members) {
    nlohmann::ordered_json one = {{"drafter", member.name}, {"rounds", member.rounds}};
    if (member.use == MemberUse::VerifiedInside)
      one.update({{"accepted_inside", member.accepted}, {"rejected_inside", member.rejected}});
    members.push_back(std::move(one));
  }
  if (!members.empty()) out["members"] = std::move(members);
  return out;
}

template <class T>
nlohmann::ordered_json optional_json(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

nlohmann::ordered_json json_of(const certify::CertificateRow& row) {
  nlohmann::ordered_json out = {
      {"verifier", row.verifier}, {"drafter", row.draft}, {"verdict", to_string(row.verdict)}};
  out["reason"] = row.reason.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(row.reason);
  const certify::Exercise all = row.exercise();
  out["only_verifier"] = row.only_verifier;
  out["drafted"] = all.drafted;
  out["accepted"] = all.accepted;
  out["rejected"] = all.rejected;
  const auto& exact = row.exact;
  out["tv"] = exact ? nlohmann::ordered_json(exact->total_variation) : nlohmann::ordered_json();
  out["tv_later"] = exact ? nlohmann::ordered_json(exact->later_variation) : nlohmann::ordered_json();
  out["tv_residual"] = exact ? optional_json(exact->residual_variation) : nlohmann::ordered_json();
  out["expected_tokens"] = exact ? nlohmann::ordered_json(exact->expected_tokens) : nlohmann::ordered_json();
  out["first_drafted"] = exact ? optional_json(exact->first_drafted) : nlohmann::ordered_json();
  out["transport_bound"] = exact ? optional_json(exact->transport_bound) : nlohmann::ordered_json();
  out["chi_square_p"] = row.sampled ? nlohmann::ordered_json(row.sampled->p_value) : nlohmann::ordered_json();
  out["identical_at_0"] = optional_json(row.identical);
  out["checked_on"] = row.on_toys ? "toys" : "transformer";
  out["transformer"] = optional_json(row.real);
  out["not_walked"] = row.not_walked;
  nlohmann::ordered_json exercised = {{"at_temperature_0", json_of(row.greedy)}};
  if (exact) exercised["enumeration"] = json_of(exact->exercise);
  if (row.sampled) exercised["chi_square"] = json_of(row.sampled->exercise);
  if (row.real) exercised["transformer"] = json_of(row.real_exercise);
  out["exercised"] = std::move(exercised);
  auto controls = nlohmann::ordered_json::array();
  for (const certify::ControlFinding& control : row.controls)
    controls.push_back({{"control", control.name},
                        {"caught", control.caught},
                        {"tv", optional_json(control.variation)},
                        {"chi_square_p", optional_json(control.p_value)},
                        {"differs_at_0", optional_json(control.differs)}});
  out["controls"] = std::move(controls);
  return out;
}

// What the toys of each check allow; a draft of one token stays below by its nature.
constexpr int kDeepestWalked = 4, kDeepestSampled = 6;

bool drafts(const certify::CertificateRow& row) { return row.verdict != certify::Ruling::PlainDecoding; }

// "4, 6": the most draft tokens that a round of enumeration accepted, and one of the sampled runs; where nothing is
// drawn, one at temperature 0.
std::string depths(const certify::CertificateRow& row) {
  const auto marked = [&](int deepest, int possible) {
    return fmt::format("{}{}", deepest, drafts(row) && deepest < possible ? "!" : "");
  };
  if (!row.exact && !row.sampled) return marked(row.greedy.deepest, kDeepestWalked);
  return fmt::format("{}{}, {}", row.exact ? marked(row.exact->exercise.deepest, kDeepestWalked) : "-",
                     row.not_walked.empty() ? "" : "*",
                     row.sampled ? marked(row.sampled->exercise.deepest, kDeepestSampled) : "-");
}

// "prompt_lookup 4021, model 211": the rounds that the members of a composition had a part in.
std::string members(const certify::CertificateRow& row) {
  std::string out;
  for (const certify::MemberCounts& member : row.exercise().members)
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", member.name, member.rounds);
  return out.empty() ? "-" : out;
}

// The smallest distance of a control that enumeration caught; else in which check all were caught.
std::string weakest_control(const certify::CertificateRow& row) {
  if (row.controls.empty()) return "-";
  std::optional<double> smallest;
  bool sampled = false;
  for (const certify::ControlFinding& control : row.controls) {
    if (!control.caught) return "passes";
    sampled = sampled || control.p_value;
    if (control.variation && !control.p_value) smallest = std::min(smallest.value_or(1), *control.variation);
  }
  return sampled ? "chi-square" : smallest ? fmt::format("{:.4f}", *smallest) : "differs";
}

// What the checks on a random transformer found; where the drafter needs one, all others ran on it, too.
std::string on_transformer(const certify::CertificateRow& row) {
  const char* const found = !row.real ? "-" : *row.real ? "same" : "differs";
  return fmt::format("{}{}", found, row.on_toys ? "" : " (all)");
}

void print_legend() {
  util::print_out(
      "\n"
      "drafted, accepted, rejected: draft tokens in all checks together, each branch of an enumeration counted once\n"
      "depth: most draft tokens that one round accepted, in enumeration and in the chi-square test; * some branches "
      "were not walked, see "
      "below;\n"
      "! fewer than the 4 that a full enumeration reaches, or the 6 of a full chi-square test\n"
      "members: of a composition, each with the number of rounds in which what it drafted was verified\n"
      "total variation: the largest that enumeration found; T=0: with the target's greedy text\n"
      "transformer: on one with random weights, its greedy text over 512 tokens, in batches of 2, 8 and 16, and with "
      "rounds\n"
      "without a draft, and each sequence of a batch as alone; - where each of the two passed with another; (all): all "
      "checks ran there\n"
      "control: the smallest total variation at which the same checks caught a biased verifier on the same draft\n"
      "lossless: nothing is wrong in checks in which tokens were drafted, accepted and rejected and that caught every "
      "control;\n"
      "not exercised, without power: they were not, or did not; plain decoding: the drafter drafts nothing; lossy: "
      "registered so, and it "
      "shows\n");
}

// Lines for rows of one kind, under a heading.
void print_reasons(const std::vector<certify::CertificateRow>& rows, const char* heading,
                   const std::vector<certify::Ruling>& verdicts) {
  std::string lines;
  for (const auto& row : rows)
    if (std::find(verdicts.begin(), verdicts.end(), row.verdict) != verdicts.end())
      lines += fmt::format("  {} on {}: {}\n", row.verifier, row.draft, row.reason);
  if (!lines.empty()) util::print_out(fmt::format("\n{}, and why:\n{}", heading, lines));
}

void print_not_walked(const std::vector<certify::CertificateRow>& rows) {
  std::map<std::string, std::set<std::string>> by_draft;
  for (const auto& row : rows)
    for (const std::string& what : row.not_walked) by_draft[row.draft + ": " + what].insert(row.verifier);
  if (by_draft.empty()) return;
  util::print_out("\n* branches that enumeration did not walk:\n");
  for (const auto& [what, verifiers] : by_draft)
    util::print_out(fmt::format("  {} ({})\n", what, fmt::join(verifiers, ", ")));
}

// What the table does not say of drafts that were not asked for by name.
void print_one_verifier(const std::vector<certify::CertificateRow>& rows) {
  std::set<std::string> verifiers, drafts;
  for (const auto& row : rows) {
    if (!row.only_verifier) continue;
    verifiers.insert(row.verifier);
    drafts.insert(row.draft);
  }
  if (drafts.empty()) return;
  util::print_out(
      fmt::format("\nlearned heads and presets that met {} alone; {} stand for them\n"
                  "with the other verifiers (all pairs: --full, or --drafter NAME):\n  {}\n",
                  fmt::join(verifiers, ", "), fmt::join(certify::leading_drafters(), ", "), fmt::join(drafts, ", ")));
}

void print_counts(const std::vector<certify::CertificateRow>& rows) {
  std::map<certify::Ruling, int> counts;
  for (const auto& row : rows) ++counts[row.verdict];
  std::string line;
  for (const auto& [verdict, count] : counts)
    line += fmt::format("{}{} {}", line.empty() ? "" : ", ", count, to_string(verdict));
  util::print_out(fmt::format("\n{}: {}\n", counted(rows.size(), "pair"), line));
}

void print_table(const std::vector<certify::CertificateRow>& rows) {
  using certify::Ruling;
  util::Table table({"<verifier", "<draft", "<verdict", "drafted", "accepted", "rejected", "depth", "total variation",
                     "tokens/round", "first drafted", "bound", "chi-square p", "<T=0", "<transformer", "control",
                     "<members"});
  std::string last;
  for (const auto& row : rows) {
    if (row.verdict == certify::Ruling::NotApplicable) continue;
    if (!last.empty() && last != row.verifier) table.add_rule();
    last = row.verifier;
    const auto of = [&](auto field) { return row.exact ? std::optional<double>(field(*row.exact)) : std::nullopt; };
    const auto tv = of([](const auto& e) { return std::max(e.total_variation, e.later_variation); });
    const certify::Exercise all = row.exercise();
    table.add({row.verifier, row.draft, to_string(row.verdict), fmt::format("{}", all.drafted),
               fmt::format("{}", all.accepted), fmt::format("{}", all.rejected), depths(row),
               tv && *tv < row.exact->rounding ? fmt::format("< {:g}", row.exact->rounding) : number(tv, "{:.4f}"),
               number(of([](const auto& e) { return e.expected_tokens; }), "{:.4f}"),
               number(row.exact ? row.exact->first_drafted : std::nullopt, "{:.4f}"),
               number(row.exact ? row.exact->transport_bound : std::nullopt, "{:.4f}"),
               row.sampled ? fmt::format("{:.3f}", row.sampled->p_value) : "-",
               !row.identical   ? "-"
               : *row.identical ? "same"
                                : "differs",
               on_transformer(row), weakest_control(row), members(row)});
  }
  util::print_out(table.to_string());
  print_legend();
  print_not_walked(rows);
  print_one_verifier(rows);
  print_reasons(rows, "refused", {certify::Ruling::NotApplicable});
  print_reasons(rows, "not exercised", {certify::Ruling::NotExercised});
  print_reasons(rows, "without power", {certify::Ruling::WithoutPower});
  print_counts(rows);
}

// As messages call them ("drafter 'bigram'"): those with a lossless row and none that failed.
std::set<std::string> certified_drafters(const std::vector<certify::CertificateRow>& rows) {
  std::set<std::string> passed, failed;
  for (const auto& row : rows) {
    if (row.verdict == certify::Ruling::Lossless) passed.insert(fmt::format("drafter '{}'", row.draft));
    if (row.verdict == certify::Ruling::Failed) failed.insert(fmt::format("drafter '{}'", row.draft));
  }
  for (const std::string& drafter : failed) passed.erase(drafter);
  return passed;
}

nlohmann::ordered_json json_of(const certify::RouterRow& row) {
  return {{"router", row.name},
          {"row_independent", row.says_independent},
          {"verdict", to_string(row.verdict)},
          {"reason", row.reason.empty() ? nullptr : nlohmann::ordered_json(row.reason)},
          {"rows", row.rows},
          {"exercised", json_of(row.exercise)}};
}

// What is certified alone, a row each: who it is and how much it was asked, then what routers and exit policies share.
// `cells`: of a row, as many as `counted` has after its name; `legend`: what they and the verdicts mean.
template <class Row, class Cells>
void print_alone(const std::string& kind, std::vector<std::string> counted, const std::vector<Row>& rows, Cells&& cells,
                 const std::string& legend) {
  std::vector<std::string> head = {"<" + kind, "<says of its rows", "<verdict"};
  head.insert(head.end(), counted.begin(), counted.end());
  head.insert(head.end(), {"drafted", "accepted", "rejected"});
  util::Table table(head);
  std::string reasons;
  for (const Row& row : rows) {
    std::vector<std::string> line = {row.name, row.says_independent ? "independent" : "dependent",
                                     to_string(row.verdict)};
    for (const auto count : cells(row)) line.push_back(fmt::format("{}", count));
    for (const auto count : {row.exercise.drafted, row.exercise.accepted, row.exercise.rejected})
      line.push_back(fmt::format("{}", count));
    table.add(line);
    if (!row.reason.empty()) reasons += fmt::format("  {}: {}\n", row.name, row.reason);
  }
  util::print_out(table.to_string());
  if (!reasons.empty()) util::print_out("\n" + reasons);
  util::print_out("\n" + legend);
}

void print_routers(const std::vector<certify::RouterRow>& rows) {
  print_alone(
      "router", {"rows"}, rows, [](const certify::RouterRow& row) { return std::array{row.rows}; },
      "rows: routed alone, with their sequence, and in a batch of three sequences with drafts\n"
      "drafted, accepted, rejected: when a random mixture of experts decoded under the router\n"
      "lossless: nothing depended on what a row was routed with, so a lossless verifier keeps the distribution of the "
      "target under this\n"
      "router; towards the checkpoint every other router is lossy. lossy: it says that rows depend on one another, and "
      "it shows\n");
}

nlohmann::ordered_json json_of(const certify::ExitPolicyRow& row) {
  return {{"exit", row.name},
          {"row_independent", row.says_independent},
          {"verdict", to_string(row.verdict)},
          {"reason", row.reason.empty() ? nullptr : nlohmann::ordered_json(row.reason)},
          {"asked", row.asked},
          {"left", row.left},
          {"exercised", json_of(row.exercise)}};
}

void print_exits(const std::vector<certify::ExitPolicyRow>& rows) {
  print_alone(
      "exit policy", {"asked", "left"}, rows,
      [](const certify::ExitPolicyRow& row) {
        return std::array{row.asked, row.left};
      },
      "asked: rows at a layer; left: those that left there, when a random transformer decoded alone, in a batch and "
      "with drafts\n"
      "under the policy and each rule for skipped layers (propagate, copy, recompute, hole)\n"
      "lossless: it always said the same tokens, so a lossless verifier keeps the distribution of the target under "
      "this policy; towards\n"
      "the checkpoint it is lossy. lossy: it says that rows depend on one another, and it shows\n");
}

// What was asked for by name and cannot be tested at all is a mistake. `what`: of a row, in messages.
template <class Row, class What>
void check_applicable(const std::vector<Row>& rows, const What& what) {
  const bool refused =
      std::ranges::all_of(rows, [](const Row& row) { return row.verdict == certify::Ruling::NotApplicable; });
  if (refused && !rows.empty()) fail("{}: refused: {}", printable(what(rows.front())), printable(rows.front().reason));
}

// What is certified alone: routers and exit policies. `asked`: as it was typed.
template <class Row>
void finish_alone(const CertifyOptions& options, const std::string& asked, const std::vector<Row>& rows,
                  void (*print)(const std::vector<Row>&)) {
  if (asked != "all") check_applicable(rows, [](const Row& row) { return row.name; });
  auto json = nlohmann::ordered_json::array();
  for (const Row& row : rows) json.push_back(json_of(row));
  options.json ? util::print_json(json) : print(rows);
  std::string failed;
  for (const Row& row : rows)
    if (row.verdict == certify::Ruling::Failed ||
        (row.verdict == certify::Ruling::NotExercised && row.says_independent))
      failed += fmt::format("{} {}: {}\n", to_string(row.verdict), row.name, row.reason);
  if (failed.empty()) return;
  util::print_error(failed);
  throw util::NegativeResult();
}

bool names_others(const CertifyOptions& options) {
  return options.settings.attention || options.settings.drafter != "all" || options.settings.verifier != "all";
}

void run_certify_exits(const CertifyOptions& options) {
  if (names_others(options) || options.router)
    fail("--exit: exit policies are certified alone, without --drafter, --verifier, --attention and --router");
  study::load_plugins(options.plugins);
  finish_alone(options, *options.exit, certify::certify_exits(*options.exit), print_exits);
}

void run_certify_routers(const CertifyOptions& options) {
  if (names_others(options))
    fail("--router: routers are certified alone, without --drafter, --verifier and --attention");
  study::load_plugins(options.plugins);
  finish_alone(options, *options.router, certify::certify_routers(*options.router), print_routers);
}

void run_certify(const CertifyOptions& options) {
  if (options.exit) return run_certify_exits(options);
  if (options.router) return run_certify_routers(options);
  const std::string& drafter = options.settings.drafter;
  if (options.settings.attention && drafter != "all" && drafter != "sparse_cache")
    fail("--attention: '{}' has no attention policy; 'sparse_cache' has", printable(drafter));
  study::load_plugins(options.plugins, study::DistributionChecks::Always);
  certify::CertificateOptions settings = options.settings;
  util::Progress progress(1, "pairs");
  settings.on_row = [&](int row, int rows) {
    if (row == 0) return progress.start_cell("certify", rows);
    progress.advance(1);
  };
  const auto rows = certify::certify(settings);
  progress.advance(1);
  progress.finish_cell();
  const bool by_name = settings.verifier != "all" || settings.drafter != "all" || settings.attention;
  if (by_name)
    check_applicable(rows, [](const certify::CertificateRow& row) { return row.verifier + " on " + row.draft; });
  auto json = nlohmann::ordered_json::array();
  for (const auto& row : rows)
    if (row.verdict != certify::Ruling::NotApplicable) json.push_back(json_of(row));
  options.json ? util::print_json(json) : print_table(rows);
  for (const std::string& file : study::certify_plugins(certified_drafters(rows)))
    util::print_error(
        fmt::format("note: wrote {}: runs need not pass over this plug-in's distributions\n", printable(file)));
  std::string failed;
  for (const auto& row : rows)
    if (!certify::passes(row, by_name))
      failed += fmt::format("{} {} on {}: {}\n", to_string(row.verdict), row.verifier, row.draft, row.reason);
  if (failed.empty()) return;
  util::print_error(failed);
  throw util::NegativeResult();
}

}  // namespace

void add_certify_command(util::Command app) {
  auto options = std::make_shared<CertifyOptions>();
  util::Command command = app.add_command(
      "certify",
      "Test whether verifiers are lossless: exact enumeration, chi-square, token identity; exit code 1 if one is not");
  command.add("--verifier", options->settings.verifier, "a verifier's name", {.type = "NAME", .show_default = true});
  command.add("--drafter", options->settings.drafter, "a drafter's name", {.type = "NAME", .show_default = true});
  command.add("--attention", options->settings.attention,
              "an attention policy, with the drafter sparse_cache: a name, or {type: NAME, ...} with its parameters",
              {.type = "POLICY"});
  command.add("--router", options->router,
              "a router alone, on a random mixture of experts: a name, 'all', or {type: NAME, ...} with its parameters",
              {.type = "ROUTER"});
  command.add("--exit", options->exit,
              "an exit policy alone, on a random transformer: a name, 'all', or {type: NAME, ...} with its parameters",
              {.type = "POLICY"});
  study::add_plugin_option(command, options->plugins);
  command.add_flag("--full", options->settings.full,
                   "more toys, more branches and more draws: minutes instead of seconds");
  command.add_flag("--json", options->json, "as a JSON array");
  command.run([options] { run_certify(*options); });
}

}  // namespace foretell::cli::commands::strategies
