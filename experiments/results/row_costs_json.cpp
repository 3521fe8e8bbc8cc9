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
      out.push_back({static_cast<int>(rows), list.at(i).at("ns").number(0, 1e18)});
    }
    return out;
  };
  auto target = points(costs.at("target"));
  if (target.empty()) costs.at("target").expected("at least one point");
  return std::make_shared<cost::RowCosts>(std::move(target), points(costs.at("draft")));
}

template std::shared_ptr<const cost::RowCosts> row_costs_from(const io::JsonView& costs);
template std::shared_ptr<const cost::RowCosts> row_costs_from(const io::OrderedJsonView& costs);

nlohmann::ordered_json to_json(const cost::RowCosts& costs) {
  const auto points = [](const std::vector<cost::RowCost>& of) {
    auto out = nlohmann::ordered_json::array();
    for (const cost::RowCost& point : of) out.push_back({{"rows", point.rows}, {"ns", point.ns}});
    return out;
  };
  return {{"target", points(costs.target_points())}, {"draft", points(costs.draft_points())}};
}

}  // namespace foretell::results
