#include "experiments/analysis/divergence.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "framework/core/text.h"

namespace foretell::analysis {

int Divergences::ties() const {
  return static_cast<int>(std::count_if(found.begin(), found.end(), [](const Divergence& d) { return d.is_tie; }));
}

std::string Divergences::words(const std::optional<std::string>& task) const {
  int ties = 0, faults = 0;
  for (const Divergence& d : found)
    if (!task || d.task == *task) ++(d.is_tie ? ties : faults);
  return divergence_words(ties, faults);
}

std::string divergence_words(int ties, int faults) {
  std::string tied = counted(ties, "tie");
  if (faults == 0) return tied;
  return (ties > 0 ? tied + ", " : "") + fmt::format("{} NOT EXPLAINED", faults);
}

nlohmann::ordered_json to_json(const Divergences& divergences) {
  auto list = nlohmann::ordered_json::array();
  const auto id = [](const std::optional<Token>& token) {
    return token ? nlohmann::ordered_json(*token) : nlohmann::ordered_json();
  };
  for (const Divergence& d : divergences.found)
    list.push_back({{"conversation", d.conversation},
                    {"task", d.task},
                    {"turn", d.turn},
                    {"repeat", d.repeat},
                    {"position", d.position},
                    {"a", id(d.a)},
                    {"b", id(d.b)},
                    {"best", d.best},
                    {"second", d.second},
                    {"margin", d.margin},
                    {"gap", std::isfinite(d.gap) ? nlohmann::ordered_json(d.gap) : nlohmann::ordered_json()},
                    {"eps", d.noise},
                    {"tie", d.is_tie},
                    {"words", d.words}});
  return {{"compared", divergences.compared},
          {"same", divergences.same},
          {"behind", divergences.behind},
          {"ties", divergences.ties()},
          {"faults", divergences.faults()},
          {"dtype", divergences.dtype},
          {"differences", list}};
}

std::optional<Divergences> divergences_from(const std::optional<results::ResultJson>& file) {
  if (!file) return std::nullopt;
  constexpr int kMost = std::numeric_limits<int>::max();
  const auto count = [](const io::OrderedJsonView& of, const char* key) {
    return static_cast<int>(of.at(key).integer(0, kMost));
  };
  const auto token = [](const io::OrderedJsonView& of, const char* key) -> std::optional<Token> {
    const auto id = of.find(key);
    return id ? std::optional(static_cast<Token>(
                    id->integer(std::numeric_limits<Token>::min(), std::numeric_limits<Token>::max())))
              : std::nullopt;
  };
  const io::OrderedJsonView json = file->view(), list = json.at("differences");
  Divergences out{.compared = count(json, "compared"),
                  .same = count(json, "same"),
                  .behind = count(json, "behind"),
                  .dtype = json.at("dtype").string()};
  for (std::size_t i = 0; i < list.size(); ++i) {
    const io::OrderedJsonView d = list.at(i);
    const auto gap = d.find("gap");
    out.found.push_back({.conversation = d.at("conversation").string(),
                         .task = d.at("task").string(),
                         .turn = count(d, "turn"),
                         .repeat = count(d, "repeat"),
                         .position = count(d, "position"),
                         .a = token(d, "a"),
                         .b = token(d, "b"),
                         .best = token(d, "best").value_or(0),
                         .second = token(d, "second").value_or(0),
                         .margin = d.at("margin").number(),
                         .gap = gap ? gap->number() : std::numeric_limits<double>::infinity(),
                         .noise = d.at("eps").number(),
                         .is_tie = d.at("tie").boolean(),
                         .words = d.at("words").string()});
  }
  return out;
}

}  // namespace foretell::analysis
