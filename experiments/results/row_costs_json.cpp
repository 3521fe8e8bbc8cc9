#include "experiments/results/row_costs_json.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace foretell::results {

template <class Json>
std::shared_ptr<const cost::RowCosts> row_costs_from(const io::BasicJsonView<Json>& costs) {
  const auto points = [](const io::BasicJsonView<Json>& list) {
    std::vector<cost::RowCost> out;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const auto rows = list.at(i).at("rows").integer(out.empty() ? 1 : out.back().rows + 1, 1 << 24);
      const auto experts = list.at(i).find("experts");
      out.push_back(
          {static_cast<int>(rows), list.at(i).at("ns").number(0, 1e18), experts ? experts->number(0, 1e6) : 0});
    }
    return out;
  };
  auto target = points(costs.at("target"));
  if (target.empty()) costs.at("target").expected("at least one point");
  const auto share = costs.find("expert_share");
  return std::make_shared<cost::RowCosts>(std::move(target), points(costs.at("draft")),
                                          share ? share->number(0, 1e9) : 0);
}

template std::shared_ptr<const cost::RowCosts> row_costs_from(const io::JsonView& costs);
template std::shared_ptr<const cost::RowCosts> row_costs_from(const io::OrderedJsonView& costs);

nlohmann::ordered_json to_json(const cost::RowCosts& costs) {
  const auto points = [](const std::vector<cost::RowCost>& of) {
    auto out = nlohmann::ordered_json::array();
    for (const cost::RowCost& point : of) {
      out.push_back({{"rows", point.rows}, {"ns", point.ns}});
      if (point.experts > 0) out.back()["experts"] = point.experts;
    }
    return out;
  };
  nlohmann::ordered_json out{{"target", points(costs.target_points())}, {"draft", points(costs.draft_points())}};
  if (costs.expert_share() > 0) out["expert_share"] = costs.expert_share();
  return out;
}

}  // namespace foretell::results
