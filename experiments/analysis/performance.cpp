#include "experiments/analysis/performance.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "experiments/analysis/model_shape.h"
#include "experiments/cell/cell_setup.h"
#include "framework/cost/timing_contradiction.h"
#include "framework/measurement/measured_costs.h"
#include "framework/metrics/metrics.h"
#include "framework/model/load_model.h"

namespace foretell::analysis {
namespace {

using RoundList = std::vector<RoundRecord>;

RoundList first_rounds(std::span<const results::GenerationRecord> records, results::PipelineVariant arm) {
  RoundList out;
  for (const results::GenerationRecord& record : records)
    if (record.arm == arm && record.repeat == 0) out.insert(out.end(), record.rounds.begin(), record.rounds.end());
  return out;
}

// [ns] of the rounds of an arm, on average: of each request the median of its repeats, as its time is taken, so that a
// slow spell in one does not count.
template <class Phase>
double typical_ns(std::span<const results::GenerationRecord> records, results::PipelineVariant arm,
                  const Phase& phase) {
  std::map<std::pair<std::string, int>, std::vector<double>> requests;
  double rounds = 0, total = 0;
  for (const results::GenerationRecord& record : records) {
    if (record.arm != arm) continue;
    double sum = 0;
    for (const RoundRecord& round : record.rounds) sum += static_cast<double>(phase(round.ns));
    requests[{record.conversation, record.turn}].push_back(sum);
    if (record.repeat == 0) rounds += static_cast<double>(record.rounds.size());
  }
  for (auto& [request, sums] : requests) total += *metrics::median(std::move(sums));
  return rounds > 0 ? total / rounds : 0;
}

double number_bytes(const model::LanguageModel& model, const std::optional<std::string>& dtype) {
  const std::string type = cell::number_type(dtype, model.config());
  if (type == "bf16" || type == "bfloat16" || type == "f16" || type == "float16") return 2;
  return type == "f64" || type == "float64" ? 8 : 4;
}

// The weights are read once for all sequences of a batch.
double bytes_in_batch(const cost::ForwardCost& cost, double batch) {
  return cost.bytes() - cost.weight_bytes + cost.weight_bytes / batch;
}

struct Work {
  double operations = 0, bytes = 0;
  void add(const cost::ForwardCost& cost, double batch, double times = 1) {
    operations += times * cost.operations;
    bytes += times * bytes_in_batch(cost, batch);
  }
};

// Distinct experts of a layer in a round's forward, with those of the sequences that shared it; none where the target
// has none.
std::optional<double> experts_together(const RoundRecord& round) {
  if (!round.experts || round.experts->layers.empty()) return std::nullopt;
  double sum = 0;
  for (const LayerExperts& layer : round.experts->layers) sum += layer.together;
  return sum / static_cast<double>(round.experts->layers.size());
}

struct Shapes {
  cost::ModelShape target;
  std::optional<cost::ModelShape> draft = {};
};

void fold_work(const study::Cell& cell, const Shapes& shapes, std::span<const results::GenerationRecord> records,
               CellPerformance& out) {
  Work work;
  double tokens = 0, longest = 0;
  for (const results::GenerationRecord& record : records) {
    if (record.arm != results::PipelineVariant::Method || record.repeat != 0) continue;
    double context = record.prompt_tokens - 1;
    for (const RoundRecord& round : record.rounds) {
      work.add(cost::forward_cost(shapes.target, round.scored, context, {}, experts_together(round)),
               round.experts ? round.experts->sequences : cell.run.batch_size);
      if (shapes.draft && round.depth > 0)
        work.add(cost::forward_cost(*shapes.draft, static_cast<double>(round.drafted) / round.depth, context),
                 cell.run.batch_size, round.depth);
      context += round.emitted;
      tokens += round.emitted;
    }
    longest = std::max(longest, context);
  }
  if (tokens > 0) {
    out.operations_per_token = work.operations / tokens;
    out.bytes_per_token = work.bytes / tokens;
  }
  cost::MemoryUse memory{.weights = cost::stored_weight_bytes(shapes.target),
                         .caches = cost::stored_cache_bytes(shapes.target, longest) * cell.run.batch_size,
                         .process = cost::peak_process_bytes()};
  if (shapes.draft) {
    memory.weights += cost::stored_weight_bytes(*shapes.draft);
    memory.caches += cost::stored_cache_bytes(*shapes.draft, longest) * cell.run.batch_size;
  }
  out.memory = memory;
}

Shapes shapes_of(const study::Cell& cell, const cell::CellSetup& setup) {
  const double bytes = number_bytes(*setup.model, cell.model.dtype);
  const auto shape_of = [&](const formats::ModelConfig& config) {
    cost::ModelShape shape = model_shape(config, bytes);
    if (cell.model.dtype == "int8") shape.weight_bytes = shape.head_bytes = 1;
    if (const auto int4 = model::parse_int4(cell.model.dtype.value_or(""))) {
      shape.weight_bytes = 0.5 + (int4->zero_points ? 3.0 : 2.0) / int4->group;
      shape.head_bytes = 1;
    }
    // With a scale for each row of a head.
    if (cell.model.kv_dtype == "int8") shape.cache_bytes = 1 + 4.0 / shape.head_dim;
    return shape;
  };
  Shapes shapes{shape_of(setup.model->config())};
  if (!setup.draft_folder.empty()) shapes.draft = shape_of(formats::load_model_config(setup.draft_folder));
  return shapes;
}

cost::RoundPlan plan_with_answers(std::span<const results::GenerationRecord> records) {
  cost::RoundPlan plan = cost::plan_of(first_rounds(records, results::PipelineVariant::Method));
  const auto other = [](const PhaseTimes& ns) { return ns.verify + ns.commit; };
  plan.draft_ns = typical_ns(records, results::PipelineVariant::Method, [](const PhaseTimes& ns) { return ns.draft; });
  plan.other_ns = typical_ns(records, results::PipelineVariant::Method, other);
  plan.plain_other_ns = typical_ns(records, results::PipelineVariant::Baseline, other);
  for (const results::GenerationRecord& record : records) {
    if (record.arm != results::PipelineVariant::Method || record.repeat != 0) continue;
    int tokens = 0;
    for (const RoundRecord& round : record.rounds) tokens += round.emitted;
    if (tokens > 0) ++plan.answers[tokens];
  }
  return plan;
}

// The rounds after a prefill in which a forward still brings weights back into a cache that it shares. On a processor
// whose L3 keeps what the L2 evicts, and which other virtual machines use too, one pass does not do it: plain decoding
// of the bundled target took 407, 319, 248, 201, 189, 183, 179, 178 us in the first eight rounds, while a pause in
// place of the prefill changed nothing (docs/reference/performance.md).
constexpr std::size_t kColdRounds = 5;
// One interrupt makes a mean of fewer twice as long.
constexpr double kFewestRounds = 8;

// What scoring took in the rounds of a cell, beside what it was measured to cost. Costs were measured behind forwards
// of few rows, so the first rounds of an answer are left out.
class ScoreTimes {
 public:
  ScoreTimes(const study::Cell& cell, const cell::CellSetup& setup, const cost::RowCosts& costs)
      : shape_(shapes_of(cell, setup).target),
        costs_(costs),
        batch_(cell.run.batch_size),
        measured_context_(measurement::row_cost_context(setup.model->config())) {}

  // Of the repeat that is in the middle; none with too few rounds behind the first ones.
  std::optional<cost::ScoredRounds> of(std::span<const results::GenerationRecord> records,
                                       results::PipelineVariant arm) const {
    std::map<int, cost::ScoredRounds> sums;
    std::map<int, double> counts;
    for (const results::GenerationRecord& record : records) {
      if (record.arm != arm || record.rounds.size() <= kColdRounds) continue;
      counts[record.repeat] += static_cast<double>(record.rounds.size() - kColdRounds);
      add(record, sums[record.repeat]);
    }
    std::vector<cost::ScoredRounds> means;
    for (const auto& [repeat, sum] : sums) {
      const double n = counts.at(repeat);
      if (n < kFewestRounds) continue;
      means.push_back({sum.rows / n, sum.score_ns / n, sum.draft_ns / n, sum.least_ns / n, sum.most_ns / n});
    }
    if (means.empty()) return std::nullopt;
    const auto middle = means.begin() + static_cast<std::ptrdiff_t>(means.size() / 2);
    std::nth_element(means.begin(), middle, means.end(), [](const cost::ScoredRounds& a, const cost::ScoredRounds& b) {
      return a.score_ns * b.most_ns < b.score_ns * a.most_ns;
    });
    return *middle;
  }

 private:
  void add(const results::GenerationRecord& record, cost::ScoredRounds& sum) const {
    double context = record.prompt_tokens - 1;
    for (std::size_t i = 0; i < record.rounds.size(); ++i) {
      const RoundRecord& round = record.rounds[i];
      context += i > 0 ? record.rounds[i - 1].emitted : 0;
      if (i < kColdRounds) continue;
      const double cost = costs_.target(round.scored, cost::touched_experts(round)),
                   grown = growth(round.scored, context);
      sum.rows += round.scored;
      sum.score_ns += static_cast<double>(round.ns.score);
      sum.draft_ns += static_cast<double>(round.ns.draft);
      sum.least_ns += cost * std::min(1.0, grown);
      sum.most_ns += cost * std::max(1.0, grown);
    }
  }

  // How much more a forward has to do after so many tokens than after those that were there when its cost was measured.
  double growth(double rows, double context) const {
    const cost::ForwardCost here = cost::forward_cost(shape_, rows, context),
                            there = cost::forward_cost(shape_, rows, measured_context_);
    return std::max(here.operations / there.operations, bytes_in_batch(here, batch_) / bytes_in_batch(there, batch_));
  }

  cost::ModelShape shape_;
  const cost::RowCosts& costs_;
  double batch_, measured_context_;
};

// In words what of a task's times cannot be.
std::string contradiction_of(const ScoreTimes& times, const cost::RowCosts& costs,
                             std::span<const results::GenerationRecord> records, const results::TaskSummary& task) {
  const auto method = times.of(records, results::PipelineVariant::Method);
  std::optional<double> full_acceptance;
  if (task.drafted > 0) full_acceptance = cost::predict_speedup(costs, plan_with_answers(records), {}).oracle;
  const bool plain = metrics::drafted_tokens(first_rounds(records, results::PipelineVariant::Baseline)) ==
                     0;  // else it is no measure of full acceptance
  return cost::timing_contradiction({.method = method,
                                     .baseline = times.of(records, results::PipelineVariant::Baseline),
                                     .decode_speedup = task.decode_speedup,
                                     .full_acceptance = plain ? full_acceptance : std::nullopt});
}

// What is said where nothing is predicted.
void withhold_prediction(const results::TaskSummary& measured, CellPerformance& out) {
  out.predicted.reset();
  out.reason = measured.judgement.words;
}

// What a reason begins with. Nothing wins or loses by less than what can be told, and why there is no verdict matters
// more than any prediction.
std::string begin_of_reason(const metrics::Judgement& judgement) {
  if (!judgement.verdict)
    return (judgement.words.empty() ? "not judged" : judgement.words.substr(0, judgement.words.find(';'))) + ";";
  const std::string_view verdict = *judgement.verdict == metrics::SpeedupVerdict::Faster ? "wins"
                                   : *judgement.verdict == metrics::SpeedupVerdict::Slower
                                       ? "loses"
                                       : name_of(*judgement.verdict);
  return fmt::format("{}:", verdict);
}

void predict(const study::Cell& cell, const cell::CellSetup& setup, std::span<const results::GenerationRecord> records,
             const results::TaskSummary& measured, CellPerformance& out) {
  if (cell.run.request_rate) return;  // who shares a forward with whom is up to the arrivals
  const RoundList rounds = first_rounds(records, results::PipelineVariant::Method);
  if (rounds.empty() || metrics::drafted_tokens(rounds) == 0) return;
  if (cell.run.batch_size == 1) {
    const cost::AcceptanceFacts facts{.per_level = metrics::acceptance_per_trial(rounds),
                                      .conditional_per_position = metrics::conditional_acceptance_per_position(rounds)};
    out.predicted = cost::predict_speedup(*setup.costs, plan_with_answers(records), facts);
    out.reason = cost::reason_of(*out.predicted, measured.decode_speedup);
  } else {
    out.reason = cost::unpredicted_reason(cell.run.batch_size, measured.decode_speedup);
  }
  out.reason.replace(0, out.reason.find(':') + 1, begin_of_reason(measured.judgement));
}

nlohmann::ordered_json json_number(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nullptr;
}

std::optional<double> number_at(const io::OrderedJsonView& json, std::string_view key) {
  const auto value = json.find(key);
  return value ? std::optional(value->number()) : std::nullopt;
}

measurement::EnergySource energy_source(std::string_view name) {
  for (const measurement::EnergySource source :
       {measurement::EnergySource::Counters, measurement::EnergySource::StatedPower})
    if (name_of(source) == name) return source;
  return measurement::EnergySource::None;
}

}  // namespace

void judge_timing(const study::Cell& cell, const cell::CellSetup& setup,
                  std::span<const results::GenerationRecord> records, results::Summary& summary) {
  // Costs of one sequence's rows are held against nothing but one sequence at a time.
  if (!setup.timed() || !setup.model || !setup.costs || cell.run.request_rate || cell.run.batch_size > 1 ||
      cell.is_baseline || study::has_rules(cell.pipeline))
    return;
  const cost::RowCosts& costs = *setup.costs;
  const ScoreTimes times(cell, setup, costs);
  for (auto& [name, task] : summary) {
    std::vector<results::GenerationRecord> own;
    for (const results::GenerationRecord& record : records)
      if (name != "overall" && record.task == name) own.push_back(record);
    const std::string contradiction = contradiction_of(times, costs, name == "overall" ? records : own, task);
    if (!contradiction.empty()) task.judgement = metrics::unreliable_timing(task.speedup_estimate, contradiction);
  }
}

CellPerformance performance_of(const study::Cell& cell, const cell::CellSetup& setup,
                               std::span<const results::GenerationRecord> records,
                               const results::TaskSummary& measured) {
  CellPerformance out;
  if (!setup.timed() || !setup.model) return out;
  if (measured.judgement.unreliable())
    withhold_prediction(measured, out);
  else if (setup.costs && !study::has_rules(cell.pipeline))  // the costs are the checkpoint's
    predict(cell, setup, records, measured, out);
  fold_work(cell, shapes_of(cell, setup), records, out);
  const bool counted = std::any_of(records.begin(), records.end(), [](const auto& r) { return r.joules.has_value(); });
  out.energy = counted                ? measurement::EnergySource::Counters
               : cell.run.power_watts ? measurement::EnergySource::StatedPower
                                      : measurement::EnergySource::None;
  return out;
}

nlohmann::ordered_json to_json(const CellPerformance& performance) {
  nlohmann::ordered_json predicted = nullptr;
  if (performance.predicted) {
    const cost::SpeedupPrediction& p = *performance.predicted;
    predicted = {{"iid", json_number(p.iid)},
                 {"position_wise", json_number(p.position_wise)},
                 {"oracle", p.oracle},
                 {"break_even_acceptance", json_number(p.break_even)},
                 {"acceptance", json_number(p.acceptance)},
                 {"score_cost", p.score_cost},
                 {"draft_cost", p.draft_cost},
                 {"other_cost", p.other_cost},
                 {"plain_cost", p.plain_cost},
                 {"rows", p.rows},
                 {"depth", p.depth}};
  }
  nlohmann::ordered_json memory = nullptr;
  if (performance.memory)
    memory = {{"weights", performance.memory->weights},
              {"caches", performance.memory->caches},
              {"process", json_number(performance.memory->process)}};
  return {
      {"predicted", predicted},
      {"reason", performance.reason.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(performance.reason)},
      {"operations_per_token", json_number(performance.operations_per_token)},
      {"bytes_per_token", json_number(performance.bytes_per_token)},
      {"memory", memory},
      {"energy_source", std::string(name_of(performance.energy))}};
}

CellPerformance performance_from(const std::optional<io::OrderedJsonView>& json, const results::TaskSummary& measured) {
  CellPerformance out;
  if (!json) return out;
  if (const auto p = json->find("predicted")) {
    out.predicted = cost::SpeedupPrediction{.rows = number_at(*p, "rows").value_or(1),
                                            .depth = number_at(*p, "depth").value_or(0),
                                            .score_cost = number_at(*p, "score_cost").value_or(1),
                                            .draft_cost = number_at(*p, "draft_cost").value_or(0),
                                            .other_cost = number_at(*p, "other_cost").value_or(0),
                                            .plain_cost = number_at(*p, "plain_cost").value_or(1),
                                            .acceptance = number_at(*p, "acceptance"),
                                            .iid = number_at(*p, "iid"),
                                            .position_wise = number_at(*p, "position_wise"),
                                            .oracle = number_at(*p, "oracle").value_or(1),
                                            .break_even = number_at(*p, "break_even_acceptance")};
  }
  out.reason = json->string_or("reason", "");
  out.operations_per_token = number_at(*json, "operations_per_token");
  out.bytes_per_token = number_at(*json, "bytes_per_token");
  if (const auto memory = json->find("memory"))
    out.memory = cost::MemoryUse{.weights = number_at(*memory, "weights").value_or(0),
                                 .caches = number_at(*memory, "caches").value_or(0),
                                 .process = number_at(*memory, "process")};
  out.energy = energy_source(json->string_or("energy_source", ""));
  if (measured.judgement.unreliable()) withhold_prediction(measured, out);
  return out;
}

}  // namespace foretell::analysis
