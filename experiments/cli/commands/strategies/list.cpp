#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <span>
#include <type_traits>

#include "experiments/cell/made_models.h"
#include "experiments/cell/replay_options.h"
#include "experiments/cli/commands/strategies/commands.h"
#include "experiments/cli/commands/strategies/described.h"
#include "experiments/study/pipeline.h"
#include "experiments/study/plugins.h"
#include "experiments/util/console.h"
#include "experiments/util/table.h"
#include "experiments/workload/workload.h"
#include "framework/api/attention_policy.h"
#include "framework/api/exit_policy.h"
#include "framework/api/policy.h"
#include "framework/api/router.h"
#include "framework/api/verifier.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/formats/model_families.h"

namespace foretell::cli::commands::strategies {
namespace {

struct Listed {
  std::string kind, name;
  StrategyInfo info;
  std::vector<ParameterDoc> parameters;
  std::string plugin = {};  // the file that it comes from; empty: built in
  // Of what can be a rule of the target: whether a row's logits are the same alone, in a batch and in a draft. As it is
  // with its defaults; none where it cannot be built.
  std::optional<bool> row_independent = {};
};

struct Kind {
  std::string plural, singular;
};

// The first kStrategies are strategies, which a plug-in can add to.
constexpr std::size_t kStrategies = 7;
const std::array<Kind, 12> kKinds = {{{"drafters", "drafter"},
                                      {"verifiers", "verifier"},
                                      {"policies", "policy"},
                                      {"trees", "tree"},
                                      {"attention", "attention"},
                                      {"routers", "router"},
                                      {"exits", "exit"},
                                      {"learners", "learner"},
                                      {"models", "model"},
                                      {"targets", "target"},
                                      {"workloads", "workload"},
                                      {"sections", "section"}}};

template <class Interface>
void add_registered(const std::string& kind, std::vector<Listed>& out) {
  for (const auto& [name, entry] : Registry<Interface>::instance().entries())
    out.push_back({kind, name, entry.info, entry.parameters(), entry.plugin});
}

// The strategy with its defaults, and 1 where it has none.
ConfigValue plainest(const Listed& listed) {
  ConfigValue out = ConfigValue::map({});
  out.set("type", ConfigValue::scalar(listed.name));
  for (const ParameterDoc& parameter : listed.parameters)
    if (parameter.default_value == "required") out.set(parameter.name, ConfigValue::scalar("1"));
  return out;
}

// Of what can be a rule of the target and says itself whether rows are independent.
template <class Interface>
void add_rules(const std::string& kind, std::vector<Listed>& out) {
  const auto first = static_cast<std::ptrdiff_t>(out.size());
  add_registered<Interface>(kind, out);
  std::for_each(out.begin() + first, out.end(), [](Listed& listed) {
    try {
      listed.row_independent = Registry<Interface>::instance().make(plainest(listed), {})->row_independent();
    } catch (const Error&) {  // 1 is no value of what it requires, or it needs a model
    }
  });
}

std::vector<Listed> everything() {
  std::vector<Listed> out;
  add_registered<Drafter>("drafter", out);
  add_registered<Verifier>("verifier", out);
  add_registered<DraftPolicy>("policy", out);
  add_registered<TreePolicy>("tree", out);
  const std::size_t before = out.size();
  add_registered<AttentionPolicy>("attention", out);
  for (std::size_t i = before; i < out.size(); ++i) out[i].row_independent = false;  // it chooses once a forward
  add_rules<Router>("router", out);
  add_rules<ExitPolicy>("exit", out);
  for (const DescribedLearner& learner : described_learners())
    out.push_back({"learner", learner.name, learner.info, learner.parameters});
  for (const formats::ModelFamily& family : formats::model_families())
    out.push_back({"model", family.name, {.summary = fmt::format("{}: {}", family.architecture, family.summary)}, {}});
  out.push_back({"target",
                 "replay",
                 {.summary = "recorded answers, or a recorded run with its distributions, stand in for the target; see "
                             "docs/guide/replay.md"},
                 cell::replay_parameters()});
  for (const cell::MadeModelDoc& doc : cell::made_model_docs())
    out.push_back({"target", doc.name, {.summary = doc.summary}, doc.parameters});
  for (const workload::WorkloadDoc& doc : workload::workload_docs())
    out.push_back({"workload", doc.name, {.summary = doc.summary}, doc.parameters});
  const auto section = [&]<class Options>(std::type_identity<Options>, const std::string& name) {
    out.push_back(
        {"section", name, {.summary = fmt::format("a study's {} section", name)}, Parameters::describe<Options>()});
  };
  section(std::type_identity<study::ModelSection>(), "model");
  section(std::type_identity<study::PipelineSection>(), "pipeline");
  section(std::type_identity<SamplingOptions>(), "sampling");
  section(std::type_identity<study::RunSection>(), "run");
  return out;
}

bool is_called(const Listed& listed, const std::string& name) {
  const std::vector<std::string>& others = listed.info.also_known_as;
  return same_name(listed.name, name) ||
         std::any_of(others.begin(), others.end(), [&](const auto& other) { return same_name(other, name); });
}

// The kind that was asked for, by plural or singular, or whatever has that name here or elsewhere; all if nothing was.
std::vector<Listed> chosen(const std::string& what) {
  std::vector<Listed> listed = everything();
  if (what.empty()) return listed;
  std::vector<std::string> known;
  for (const Kind& kind : kKinds) {
    known.push_back(kind.plural);
    if (what == kind.plural || what == kind.singular) {
      std::erase_if(listed, [&](const Listed& entry) { return entry.kind != kind.singular; });
      return listed;
    }
  }
  std::vector<std::string> names = known;
  for (const Listed& entry : listed) names.push_back(entry.name);
  std::erase_if(listed, [&](const Listed& entry) { return !is_called(entry, what); });
  if (!listed.empty()) return listed;
  throw Error(unknown_name_message("kind or name", what, known, nearest_name(what, names)) + ", and all names in them");
}

// "run": depends on earlier prompts; "clock": depends on measured time.
std::vector<std::string> states(const StrategyInfo& info) {
  std::vector<std::string> out;
  if (info.stateful) out.push_back("run");
  if (info.uses_wall_clock) out.push_back("clock");
  return out;
}

nlohmann::ordered_json text_or_null(const std::string& text) {
  return text.empty() ? nullptr : nlohmann::ordered_json(text);
}

nlohmann::ordered_json paper_json(const Paper& paper) {
  if (paper.authors.empty()) return nullptr;
  return {{"authors", paper.authors}, {"year", paper.year}, {"arxiv", text_or_null(paper.arxiv)}};
}

nlohmann::ordered_json taxonomy_json(const Taxonomy& taxonomy) {
  if (taxonomy.empty()) return nullptr;
  return {{"focus", text_or_null(taxonomy.focus)},
          {"ryu2024", text_or_null(taxonomy.ryu2024)},
          {"xia2024", text_or_null(taxonomy.xia2024)}};
}

// Whose distribution the output keeps where it is a rule of the target; null of all else.
nlohmann::ordered_json target_rule_json(const Listed& listed) {
  if (!listed.row_independent) return nullptr;
  return {{"lossless_towards_target", *listed.row_independent}, {"lossless_towards_checkpoint", false}};
}

nlohmann::ordered_json to_json(const Listed& listed) {
  auto parameters = nlohmann::ordered_json::array();
  for (const ParameterDoc& p : listed.parameters)
    parameters.push_back(
        {{"name", p.name}, {"type", p.type}, {"default", p.default_value}, {"doc", p.doc}, {"aliases", p.aliases}});
  const std::vector<std::string> state = states(listed.info);
  return {{"kind", listed.kind},
          {"name", listed.name},
          {"summary", listed.info.summary},
          {"lossless", listed.info.lossless ? nlohmann::ordered_json(*listed.info.lossless) : nullptr},
          {"state", state.empty() ? "none" : fmt::format("{}", fmt::join(state, "+"))},
          {"given_acceptance", listed.info.given_acceptance},
          {"paper", paper_json(listed.info.paper)},
          {"also_known_as", listed.info.also_known_as},
          {"preset_of", text_or_null(listed.info.preset_of)},
          {"taxonomy", taxonomy_json(listed.info.taxonomy)},
          {"as_target_rule", target_rule_json(listed)},
          {"plugin", text_or_null(listed.plugin)},
          {"parameters", parameters}};
}

std::string in_words(const std::string& state) {
  return state == "clock" ? "uses the wall clock" : "learns across requests";
}

std::string remarks(const Listed& listed) {
  std::vector<std::string> words;
  for (const std::string& state : states(listed.info)) words.push_back(in_words(state));
  if (listed.info.lossless) words.insert(words.begin(), *listed.info.lossless ? "lossless" : "lossy");
  if (listed.row_independent)
    words.push_back(fmt::format("as a rule of the target: {}",
                                study::in_words(study::Losslessness{*listed.row_independent, false})));
  if (listed.info.given_acceptance) words.push_back("given acceptance");
  if (!listed.info.preset_of.empty()) words.push_back("preset of " + listed.info.preset_of);
  if (!listed.plugin.empty()) words.push_back("plug-in " + listed.plugin);
  return words.empty() ? "" : fmt::format(" [{}]", fmt::join(words, ", "));
}

// "model-centric, independent draft model (2411.13157); independent drafting: small LM (2401.07851)"
std::string in_words(const Taxonomy& taxonomy) {
  std::vector<std::string> parts, first;
  for (const std::string& word : {taxonomy.focus, taxonomy.ryu2024})
    if (!word.empty()) first.push_back(word);
  if (!first.empty()) parts.push_back(fmt::format("{} (2411.13157)", fmt::join(first, ", ")));
  if (!taxonomy.xia2024.empty()) parts.push_back(taxonomy.xia2024 + " (2401.07851)");
  return fmt::format("{}", fmt::join(parts, "; "));
}

// Where it is published, under which names, and where surveys place it; empty if nothing of that is known.
std::string origin(const StrategyInfo& info) {
  std::vector<std::string> parts;
  if (const Paper& paper = info.paper; !paper.authors.empty())
    parts.push_back(
        fmt::format("paper: {} {}{}", paper.authors, paper.year, paper.arxiv.empty() ? "" : ", arXiv " + paper.arxiv));
  if (!info.also_known_as.empty())
    parts.push_back(fmt::format("also known as: {}", fmt::join(info.also_known_as, ", ")));
  if (!info.taxonomy.empty()) parts.push_back("taxonomy: " + in_words(info.taxonomy));
  return fmt::format("{}", fmt::join(parts, "; "));
}

std::string to_text(const std::vector<Listed>& all) {
  std::string out;
  std::string kind;
  for (const Listed& listed : all) {
    if (listed.kind != kind) {
      kind = listed.kind;
      const auto it = std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& k) { return k.singular == kind; });
      out += fmt::format("{}{}\n", out.empty() ? "" : "\n", util::painted(util::Colour::Blue, it->plural));
    }
    out += printable(fmt::format("  {:<18} {}{}", listed.name, listed.info.summary, remarks(listed))) + "\n";
    if (const std::string text = origin(listed.info); !text.empty()) out += printable("    " + text) + "\n";
    for (const ParameterDoc& p : listed.parameters) {
      const std::string aliases = p.aliases.empty() ? "" : fmt::format(" (also {})", fmt::join(p.aliases, ", "));
      const std::string value = p.default_value.empty() ? "\"\"" : p.default_value;
      out += printable(fmt::format("    {:<30} {}; {}{}: {}{}", p.name, p.type, value == "required" ? "" : "default ",
                                   value, p.doc, aliases)) +
             "\n";
    }
  }
  return out;
}

constexpr std::string_view kPageHead = R"(# Strategies

`foretell list --markdown` writes this page from what each strategy says where it is registered; a test compares the
two. *State*: what its behaviour depends on besides the request. *Taxonomy*: its place in the surveys of
[Ryu and Kim 2024](https://arxiv.org/abs/2411.13157) and [Xia et al. 2024](https://arxiv.org/abs/2401.07851), as they
list the method or by their definition of the class. An empty field says that there is nothing to say: a strategy
without a paper is ours, or another program's. How a strategy works and where it deviates from its paper is in
[drafters](drafters.md), [verifiers](verifiers.md) and [policies](policies.md).
)";

// As part of a cell of a table.
std::string in_cell(const std::string& text) {
  std::string out;
  for (const char c : printable(text)) out += c == '|' ? "\\|" : c == '<' ? "&lt;" : std::string(1, c);
  return out;
}

std::string paper_cell(const Paper& paper) {
  if (paper.authors.empty()) return "";
  const std::string text = in_cell(fmt::format("{} {}", paper.authors, paper.year));
  return paper.arxiv.empty() ? text : fmt::format("[{}](https://arxiv.org/abs/{})", text, in_cell(paper.arxiv));
}

std::string parameters_cell(const std::vector<ParameterDoc>& parameters) {
  std::vector<std::string> out;
  out.reserve(parameters.size());
  for (const ParameterDoc& p : parameters)
    out.push_back(fmt::format("`{}`: {}", p.name, p.default_value.empty() ? "\"\"" : in_cell(p.default_value)));
  return fmt::format("{}", fmt::join(out, ", "));
}

std::string summary_cell(const StrategyInfo& info) {
  const std::string preset = info.preset_of.empty() ? "" : fmt::format("; a preset of `{}`", in_cell(info.preset_of));
  return in_cell(info.summary) + preset;
}

std::string lossless_cell(const Listed& listed) {
  if (listed.row_independent)
    return *listed.row_independent ? "towards the target's rules" : "lossy as a target's rule";
  const std::optional<bool>& lossless = listed.info.lossless;
  return !lossless ? "" : *lossless ? "lossless" : "lossy";
}

std::string row(const Listed& listed) {
  const StrategyInfo& info = listed.info;
  std::vector<std::string> state;
  for (const std::string& word : states(info)) state.push_back(in_words(word));
  if (info.given_acceptance) state.push_back("given acceptance");
  return fmt::format("| `{}` | {} | {} | {} | {} | {} | {} | {} |\n", in_cell(listed.name), summary_cell(info),
                     lossless_cell(listed), fmt::join(state, ", "), paper_cell(info.paper),
                     in_cell(fmt::format("{}", fmt::join(info.also_known_as, ", "))), in_cell(in_words(info.taxonomy)),
                     parameters_cell(listed.parameters));
}

std::string to_markdown(const std::vector<Listed>& all) {
  std::string out(kPageHead);
  for (const Kind& kind : std::span(kKinds).first(kStrategies)) {
    std::string rows;
    for (const Listed& listed : all)
      if (listed.kind == kind.singular) rows += row(listed);
    if (!rows.empty())
      out += fmt::format(
          "\n## {}{}\n\n| name | summary | lossless | state | paper | also known as | taxonomy | "
          "parameters and defaults |\n|---|---|---|---|---|---|---|---|\n{}",
          static_cast<char>(kind.plural[0] - 'a' + 'A'), kind.plural.substr(1), rows);
  }
  return out;
}

void list(const std::string& what, bool json, bool markdown) {
  if (json && markdown) fail("--json and --markdown exclude one another");
  const std::vector<Listed> listed = chosen(what);
  if (markdown) return util::print_exact(to_markdown(listed));
  if (!json) return util::print_styled(util::wrapped_lines(to_text(listed), util::out_columns()));
  auto rows = nlohmann::ordered_json::array();
  for (const Listed& entry : listed) rows.push_back(to_json(entry));
  util::print_json(rows, 2);
}

}  // namespace

void add_list_command(util::Command app) {
  struct Options {
    std::string what;
    std::vector<std::string> plugins;
    bool json = false, markdown = false;
  };
  auto options = std::make_shared<Options>();
  util::Command command = app.add_command("list", "What there is to choose from, with all parameters");
  command.add(
      "what", options->what,
      "drafters, verifiers, policies, trees, attention, routers, exits, learners, models, targets, workloads or "
      "sections, or a name, also one from a paper (MagicDec); all without it",
      {.type = "WHAT"});
  study::add_plugin_option(command, options->plugins);
  command.add_flag("--json", options->json, "as JSON");
  command.add_flag("--markdown", options->markdown, "strategies as the page docs/reference/strategies.md");
  command.run([options] {
    study::load_plugins(options->plugins);
    list(options->what, options->json, options->markdown);
  });
}

}  // namespace foretell::cli::commands::strategies
