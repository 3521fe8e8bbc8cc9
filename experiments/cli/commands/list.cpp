#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <array>
#include <set>

#include "experiments/cell/cell_setup.h"
#include "experiments/cell/made_models.h"
#include "experiments/cli/commands/commands.h"
#include "experiments/study/plugins.h"
#include "experiments/util/console.h"
#include "experiments/util/table.h"
#include "experiments/workload/workload.h"
#include "framework/api/attention_policy.h"
#include "framework/api/policy.h"
#include "framework/api/verifier.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/formats/model_families.h"

namespace foretell::cli::commands {
namespace {

struct Listed {
  std::string kind, name, summary;
  std::optional<bool> lossless;
  std::vector<std::string> state;  // "run": depends on earlier prompts; "clock": depends on measured time
  std::vector<ParameterDoc> parameters;
  std::string plugin = {};  // the file that it comes from; empty: built in
  bool given_acceptance = false;
};

struct Kind {
  std::string plural, singular;
};

const std::array<Kind, 9> kKinds = {{{"drafters", "drafter"},
                                     {"verifiers", "verifier"},
                                     {"policies", "policy"},
                                     {"trees", "tree"},
                                     {"attention", "attention"},
                                     {"models", "model"},
                                     {"targets", "target"},
                                     {"workloads", "workload"},
                                     {"sections", "section"}}};

template <class Interface>
void add_registered(const std::string& kind, std::vector<Listed>& out) {
  for (const auto& [name, entry] : Registry<Interface>::instance().entries()) {
    Listed listed{kind, name, entry.info.summary, entry.info.lossless, {}, entry.parameters(), entry.plugin};
    if (entry.info.run_state) listed.state.push_back("run");
    if (entry.info.clock) listed.state.push_back("clock");
    listed.given_acceptance = entry.info.given_acceptance;
    out.push_back(std::move(listed));
  }
}

std::vector<Listed> everything() {
  std::vector<Listed> out;
  add_registered<Drafter>("drafter", out);
  add_registered<Verifier>("verifier", out);
  add_registered<DraftPolicy>("policy", out);
  add_registered<TreePolicy>("tree", out);
  add_registered<AttentionPolicy>("attention", out);
  for (const formats::ModelFamily& family : formats::model_families())
    out.push_back({"model", family.name, fmt::format("{}: {}", family.architecture, family.summary), {}, {}, {}});
  out.push_back({"target",
                 "replay",
                 "recorded answers, or a recorded run with its laws, stand in for the target; see docs/guide/replay.md",
                 {},
                 {},
                 cell::replay_parameters()});
  for (const cell::MadeModelDoc& doc : cell::made_model_docs())
    out.push_back({"target", doc.name, doc.summary, {}, {}, doc.parameters});
  for (const workload::WorkloadDoc& doc : workload::workload_docs())
    out.push_back({"workload", doc.name, doc.summary, {}, {}, doc.parameters});
  out.push_back({"section", "model", "a study's model section", {}, {}, Parameters::describe<study::ModelSection>()});
  out.push_back(
      {"section", "pipeline", "a study's pipeline section", {}, {}, Parameters::describe<study::PipelineSection>()});
  out.push_back({"section", "sampling", "a study's sampling section", {}, {}, Parameters::describe<SamplingOptions>()});
  out.push_back({"section", "run", "a study's run section", {}, {}, Parameters::describe<study::RunSection>()});
  return out;
}

// The kind that was asked for, by plural or singular; all if nothing was.
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
  throw Error(unknown_name_message("kind", what, known));
}

nlohmann::ordered_json to_json(const Listed& listed) {
  auto parameters = nlohmann::ordered_json::array();
  for (const ParameterDoc& p : listed.parameters)
    parameters.push_back(
        {{"name", p.name}, {"type", p.type}, {"default", p.default_value}, {"doc", p.doc}, {"aliases", p.aliases}});
  return {{"kind", listed.kind},
          {"name", listed.name},
          {"summary", listed.summary},
          {"lossless", listed.lossless ? nlohmann::ordered_json(*listed.lossless) : nullptr},
          {"state", listed.state.empty() ? "none" : fmt::format("{}", fmt::join(listed.state, "+"))},
          {"given_acceptance", listed.given_acceptance},
          {"plugin", listed.plugin.empty() ? nullptr : nlohmann::ordered_json(listed.plugin)},
          {"parameters", parameters}};
}

std::string remarks(const Listed& listed) {
  std::vector<std::string> words;
  for (const std::string& state : listed.state)
    words.push_back(state == "clock" ? "uses the wall clock" : "learns across requests");
  if (listed.lossless) words.insert(words.begin(), *listed.lossless ? "lossless" : "lossy");
  if (listed.given_acceptance) words.push_back("given acceptance");
  if (!listed.plugin.empty()) words.push_back("plug-in " + listed.plugin);
  return words.empty() ? "" : fmt::format(" [{}]", fmt::join(words, ", "));
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
    out += printable(fmt::format("  {:<18} {}{}", listed.name, listed.summary, remarks(listed))) + "\n";
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

void list(const std::string& what, bool json) {
  const std::vector<Listed> listed = chosen(what);
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
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  util::Command command = app.add_command("list", "What there is to choose from, with all parameters");
  command.add("what", options->what,
              "drafters, verifiers, policies, trees, attention, models, targets, workloads or sections; all without it",
              {.type = "KIND"});
  study::add_plugin_option(command, options->plugins);
  command.add_flag("--json", options->json, "as JSON");
  command.run([options] {
    study::load_plugins(options->plugins);
    list(options->what, options->json);
  });
}

}  // namespace foretell::cli::commands
