#include "experiments/results/row_costs_json.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace foretell {

template <class Json>
std::shared_ptr<const RowCosts> row_costs_from(const BasicJsonView<Json>& costs) {
  const auto points = [](const BasicJsonView<Json>& list) {
    std::vector<RowCost> out;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const auto rows = list.at(i).at("rows").integer(out.empty() ? 1 : out.back().rows + 1, 1 << 24);
      out.push_back({static_cast<int>(rows), list.at(i).at("ns").number(0, 1e18)});
    }
    return out;
  };
  auto target = points(costs.at("target"));
  if (target.empty()) costs.at("target").expected("at least one point");
  return std::make_shared<RowCosts>(std::move(target), points(costs.at("draft")));
}

template std::shared_ptr<const RowCosts> row_costs_from(const JsonView& costs);
template std::shared_ptr<const RowCosts> row_costs_from(const OrderedJsonView& costs);

nlohmann::ordered_json to_json(const RowCosts& costs) {
  const auto points = [](const std::vector<RowCost>& of) {
    auto out = nlohmann::ordered_json::array();
    for (const RowCost& point : of) out.push_back({{"rows", point.rows}, {"ns", point.ns}});
    return out;
  };
  return {{"target", points(costs.target_points())}, {"draft", points(costs.draft_points())}};
}

}  // namespace foretell
