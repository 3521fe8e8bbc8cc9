#include "experiments/cli/commands/strategies/described.h"

#include <nlohmann/json.hpp>

#include "framework/api/attention_policy.h"
#include "framework/api/exit_policy.h"
#include "framework/api/policy.h"
#include "framework/api/router.h"
#include "framework/api/verifier.h"
#include "framework/core/error.h"

namespace foretell::cli::commands::strategies {
namespace {

using Json = nlohmann::json;

Json to_json(const StrategyInfo& info) {
  return {{"summary", info.summary},
          {"lossless", info.lossless ? Json(*info.lossless) : Json()},
          {"stateful", info.stateful},
          {"uses_wall_clock", info.uses_wall_clock},
          {"given_acceptance", info.given_acceptance},
          {"needs_logits", info.needs_logits},
          {"draws_through_context", info.draws_through_context},
          {"rewinds", info.rewinds},
          {"acceptance", static_cast<int>(info.acceptance)},
          {"paper", {info.paper.authors, info.paper.year, info.paper.arxiv}},
          {"also_known_as", info.also_known_as},
          {"taxonomy", {info.taxonomy.focus, info.taxonomy.ryu2024, info.taxonomy.xia2024}},
          {"preset_of", info.preset_of}};
}

StrategyInfo to_info(const Json& json) {
  StrategyInfo info;
  info.summary = json.at("summary");
  if (const Json& lossless = json.at("lossless"); !lossless.is_null()) info.lossless = lossless.get<bool>();
  info.stateful = json.at("stateful");
  info.uses_wall_clock = json.at("uses_wall_clock");
  info.given_acceptance = json.at("given_acceptance");
  info.needs_logits = json.at("needs_logits");
  info.draws_through_context = json.at("draws_through_context");
  info.rewinds = json.at("rewinds");
  info.acceptance = static_cast<AcceptanceRule>(json.at("acceptance").get<int>());
  const Json &paper = json.at("paper"), &taxonomy = json.at("taxonomy");
  info.paper = {paper.at(0), paper.at(1), paper.at(2)};
  json.at("also_known_as").get_to(info.also_known_as);
  info.taxonomy = {taxonomy.at(0), taxonomy.at(1), taxonomy.at(2)};
  info.preset_of = json.at("preset_of");
  return info;
}

Json to_json(const std::vector<ParameterDoc>& parameters) {
  Json out = Json::array();
  for (const ParameterDoc& p : parameters) out.push_back({p.name, p.type, p.default_value, p.doc, p.aliases});
  return out;
}

std::vector<ParameterDoc> to_parameters(const Json& json) {
  std::vector<ParameterDoc> out;
  for (const Json& p : json) out.push_back({p.at(0), p.at(1), p.at(2), p.at(3), p.at(4)});
  return out;
}

template <class Interface>
void describe(Json& out) {
  Json& kind = out[Registry<Interface>::kind()] = Json::object();
  for (const auto& [name, entry] : Registry<Interface>::instance().entries())
    kind[name] = {{"info", to_json(entry.info)},
                  {"parameters", to_json(entry.parameters())},
                  {"where", {entry.where.file, entry.where.line.value_or(0)}}};
}

template <class Interface>
void add(const Json& all) {
  Registry<Interface>& registry = Registry<Interface>::instance();
  const Json& kind = all.at(Registry<Interface>::kind());
  for (auto it = kind.begin(); it != kind.end(); ++it) {
    const std::string& name = it.key();
    const Json &json = it.value(), &where = json.at("where");
    if (registry.entries().contains(name)) continue;
    typename Registry<Interface>::Entry entry;
    entry.info = to_info(json.at("info"));
    entry.parameters = [list = to_parameters(json.at("parameters"))] { return list; };
    entry.make = [name](const ConfigValue&, const BuildContext&) -> std::unique_ptr<Interface> {
      throw InternalError(fmt::format("'{}' is only described in a program that runs no model", name));
    };
    entry.where = {where.at(0).get<std::string>(), where.at(1).get<int>()};
    registry.add(name, std::move(entry));
  }
}

constexpr const char* kLearner = "learner";

}  // namespace

std::vector<DescribedLearner>& described_learners() {
  static std::vector<DescribedLearner> learners;
  return learners;
}

std::string describe_strategies() {
  Json out = Json::object();
  describe<Drafter>(out);
  describe<Verifier>(out);
  describe<DraftPolicy>(out);
  describe<TreePolicy>(out);
  describe<AttentionPolicy>(out);
  describe<Router>(out);
  describe<ExitPolicy>(out);
  for (const DescribedLearner& learner : described_learners())
    out[kLearner][learner.name] = {{"info", to_json(learner.info)}, {"parameters", to_json(learner.parameters)}};
  return out.dump();
}

void add_described(std::string_view text) {
  const Json all = Json::parse(text);
  add<Drafter>(all);
  add<Verifier>(all);
  add<DraftPolicy>(all);
  add<TreePolicy>(all);
  add<AttentionPolicy>(all);
  add<Router>(all);
  add<ExitPolicy>(all);
  const Json& learners = all.at(kLearner);
  for (auto it = learners.begin(); it != learners.end(); ++it)
    described_learners().push_back(
        {it.key(), to_info(it.value().at("info")), to_parameters(it.value().at("parameters"))});
}

}  // namespace foretell::cli::commands::strategies
