#include "experiments/analysis/advice.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "experiments/analysis/model_shape.h"
#include "experiments/analysis/roofline.h"
#include "experiments/util/table.h"
#include "framework/core/text.h"
#include "framework/moe/feasibility.h"

namespace foretell::analysis {
namespace {

using cost::operators::DraftSource;
using cost::operators::Expectation;
using cost::operators::SpeculationCase;

// A draft that breaks even only above this acceptance hardly pays.
constexpr double kHighAcceptance = 0.9;
// A draft token that costs so much of a plain step leaves little to gain.
constexpr double kCostlyDraft = 0.5;
constexpr double kLongestContext = 1 << 24;

std::string drafter_type(const study::Cell& cell) {
  const ConfigValue& drafter = cell.pipeline.drafter;
  const ConfigValue* name = drafter.is_scalar() ? &drafter : drafter.find("type");
  return name && name->is_scalar() ? name->text() : "";
}

bool is_among(const std::string& type, std::initializer_list<const char*> names) {
  return std::find(names.begin(), names.end(), type) != names.end();
}

// One row of the target under the rules of a draft of its own, where these are fewer experts.
std::optional<int> drafted_experts(const study::Cell& cell, const formats::MoeConfig& moe) {
  const std::string type = drafter_type(cell);
  if (moe.experts == 0 || (type != "self" && type != "fewer_experts")) return std::nullopt;
  const ConfigValue& drafter = cell.pipeline.drafter;
  const ConfigValue* k = drafter.is_scalar() ? nullptr : drafter.find_path(type == "self" ? "router.k" : "k");
  if (k && k->is_scalar()) return std::clamp(std::atoi(k->text().c_str()), 1, moe.experts);
  return type == "self" ? moe.experts_per_token : (moe.experts_per_token + 1) / 2;
}

bool is_int4(const study::Cell& cell) { return cell.model.dtype && cell.model.dtype->starts_with("int4"); }

bool is_rounded(const study::Cell& cell) { return cell.model.dtype == "int8" || is_int4(cell); }

bool is_half(const study::Cell& cell, const formats::ModelConfig& target) {
  return cell.model.dtype ? *cell.model.dtype == "bf16" : target.dtype == "bfloat16";
}

cost::operators::Precision precision_of(const study::Cell& cell, const formats::ModelConfig& target) {
  const int bits = is_rounded(cell) || is_half(cell, target) ? 16 : 32;
  const int weights = is_int4(cell) ? 4 : cell.model.dtype == "int8" ? 8 : bits;
  return {.weights = weights, .activations = bits, .cache = cell.model.kv_dtype == "int8" ? 8 : bits};
}

struct Priced {
  DraftSource source;
  bool known = true;
};

Priced source_of(const study::Cell& cell, const cell::CheckedCell& checked) {
  const std::string type = drafter_type(cell);
  if (checked.draft) return {{.kind = DraftSource::Kind::Model, .model = checked.draft}};
  if (type == "medusa") return {{.kind = DraftSource::Kind::Medusa, .heads = checked.limits.depth}};
  if (is_among(type, {"eagle", "hass", "eagle3", "mtp"})) return {{.kind = DraftSource::Kind::Layer}};
  const bool free = is_among(type, {"prompt_lookup", "ngram_cache", "ngram_mod", "suffix_decoding", "suffix_automaton",
                                    "rest", "token_recycling", "ant_trie", "none", "oracle"});
  return {{}, free};
}

// As many nodes at each depth.
std::vector<double> levels_of(double depth, double nodes) {
  std::vector<double> levels(static_cast<std::size_t>(depth) + 1, std::max(1.0, nodes / depth));
  levels.front() = 1;
  return levels;
}

class Advisor {
 public:
  Advisor(const formats::ModelConfig& target, const cost::operators::Hardware& hardware, DraftSource source,
          SpeculationCase of)
      : target_(target), hardware_(hardware), source_(std::move(source)), of_(std::move(of)) {}

  AdvisedRow row(int batch, int length, int nodes) {
    of_.batch = batch;
    of_.levels = levels_of(length, nodes);
    return {batch, length, cost::operators::expected_speedup(target_, hardware_, source_, of_, {1.0})};
  }

  std::optional<double> half_cache_context(int batch) const {
    if (cache_fraction(batch, kLongestContext) < 0.5) return std::nullopt;
    double low = 0, high = kLongestContext;
    while (high - low > 1) {
      const double middle = std::floor((low + high) / 2);
      (cache_fraction(batch, middle) < 0.5 ? low : high) = middle;
    }
    return high;
  }

 private:
  double cache_fraction(int batch, double context) const {
    SpeculationCase of = of_;
    of.batch = batch;
    of.context = context;
    of.levels = {1, 1};
    return cost::operators::speculation_costs(target_, hardware_, {}, of).cache_fraction;
  }

  const formats::ModelConfig& target_;
  const cost::operators::Hardware& hardware_;
  DraftSource source_;
  SpeculationCase of_;
};

std::string shape_words(const Advice& advice) {
  std::string words = fmt::format("A token is multiplied with {} of the target's {} parameters",
                                  short_number(advice.active_parameters), short_number(advice.target_parameters));
  if (advice.draft_parameters > 0)
    words += fmt::format(", and with {} of the draft model's", short_number(advice.draft_parameters));
  return words + ". ";
}

std::string cost_words(const Advice& advice) {
  const Expectation& full = advice.own.full;
  const double draft = full.costs.draft / full.costs.plain / advice.own.length;
  std::string words = fmt::format(
      "In a batch of {} a draft token costs {:.2f} plain steps and verification of {:.0f} rows {:.2f}, bound "
      "by {}. ",
      advice.own.batch, draft, full.prediction.rows, full.costs.verify / full.costs.plain,
      name_of(full.costs.verify_bound));
  if (!advice.priced) words += "What drafting takes is not known from shapes: it is left out, so gains are bounds. ";
  if (draft >= kCostlyDraft)
    words += advice.active_parameters < 0.9 * advice.target_parameters
                 ? "The target's active parameters are too few for this draft. "
                 : "The draft is too large for this target. ";
  return words;
}

std::string cache_words(const Advice& advice, const AdviceCase& of) {
  if (!advice.half_cache_context) return "";
  const std::string from =
      fmt::format("the KV cache is half of what a plain step reads from {:.0f} tokens on", *advice.half_cache_context);
  if (of.context < *advice.half_cache_context) return fmt::format("In that batch {}. ", from);
  return fmt::format("In that batch {}: at {:.0f} it dominates, and drafts of all rows share its reading. ", from,
                     of.context);
}

nlohmann::ordered_json row_json(const AdvisedRow& row) {
  const cost::SpeedupPrediction& p = row.full.prediction;
  return {{"batch", row.batch},
          {"draft_tokens", row.length},
          {"rows", p.rows},
          {"draft_cost", row.full.costs.draft / row.full.costs.plain},
          {"verify_cost", row.full.costs.verify / row.full.costs.plain},
          {"verify_bound", name_of(row.full.costs.verify_bound)},
          {"kv_cache_fraction", row.full.costs.cache_fraction},
          {"break_even_acceptance", p.break_even ? nlohmann::ordered_json(*p.break_even) : nullptr},
          {"speedup_if_all_accepted", row.full.speedup()}};
}

}  // namespace

std::string feasibility_of(const study::Cell& cell, const cell::CheckedCell& checked, std::optional<double> ratio) {
  if (!checked.target || checked.limits.depth <= 0) return "";
  const double bytes = is_rounded(cell) ? 1 : is_half(cell, *checked.target) ? 2 : 4;
  moe::DraftCase of{.target = model_shape(*checked.target, bytes),
                    .depth = checked.limits.depth,
                    .nodes = checked.limits.nodes,
                    .batch = cell.run.batch_size,
                    .operations_per_byte = ratio};
  if (checked.draft) of.step_bytes = cost::forward_cost(model_shape(*checked.draft, bytes), of.batch, 0).bytes();
  if (const auto experts = drafted_experts(cell, checked.target->moe)) {
    cost::ModelShape drafting = of.target;
    drafting.active_experts = *experts;
    of.step_bytes = cost::forward_cost(drafting, of.batch, 0).bytes();
  }
  return moe::feasibility_note(of, moe::draft_feasibility(of));
}

std::optional<Advice> mismatch_of(const study::Cell& cell, const std::filesystem::path& study_folder,
                                  cell::ModelPool& pool) {
  if (drafter_type(cell) != "model" || cell.model.draft.is_null() || cell.model.target.is_null()) return std::nullopt;
  const auto target = pool.tokenizer(pool.folder_of(cell.model.target, "target", study_folder));
  const auto shared = pool.shared_ids(target.get(), pool.folder_of(cell.model.draft, "draft", study_folder));
  if (!shared || shared->agree()) return std::nullopt;
  return Advice{
      .cell = cell.name,
      .mismatch = fmt::format("the tokenizers do not match: {} of {} shared ids are other tokens to the draft "
                              "model; the drafter 'universal' translates",
                              shared->different, shared->count),
      .own = {},
      .rows = {}};
}

Advice advice_of(const study::Cell& cell, const cell::CheckedCell& checked, const cost::operators::Hardware& hardware,
                 const AdviceCase& of) {
  Advice out{.cell = cell.name, .own = {}, .rows = {}};
  out.drafts = checked.target && checked.limits.depth > 0;
  if (!out.drafts) return out;
  const formats::ModelConfig& target = *checked.target;
  out.target_parameters = cost::operators::parameters_of(target, false);
  out.active_parameters = cost::operators::parameters_of(target, true);
  if (checked.draft) out.draft_parameters = cost::operators::parameters_of(*checked.draft, true);
  const Priced priced = source_of(cell, checked);
  out.priced = priced.known;
  Advisor advisor(target, hardware, priced.source,
                  {.precision = precision_of(cell, target), .context = of.context, .fused = true});
  out.own = advisor.row(cell.run.batch_size, checked.limits.depth, checked.limits.nodes);
  for (const int batch : of.batches)
    for (const int length : of.lengths)
      if (priced.source.kind != DraftSource::Kind::Medusa || length <= priced.source.heads)
        out.rows.push_back(advisor.row(batch, length, length));
  out.half_cache_context = advisor.half_cache_context(cell.run.batch_size);
  if (target.moe.experts > 0) out.experts = feasibility_of(cell, checked, {});
  return out;
}

std::string verdict_of(const Advice& advice) {
  if (!advice.mismatch.empty()) return "cannot draft: " + advice.mismatch;
  if (!advice.drafts) return "drafts nothing, or has no model for a target";
  const Expectation& full = advice.own.full;
  const std::string where = fmt::format("batch {}, {}", advice.own.batch, counted(advice.own.length, "draft token"));
  const std::optional<double>& break_even = full.prediction.break_even;
  if (!break_even) {
    const std::string why = cost::operators::loss_reason(full, {.batch = static_cast<double>(advice.own.batch)});
    return fmt::format("cannot pay ({}): {}", where,
                       why.empty() ? fmt::format("all tokens accepted would give {:.2f}x", full.speedup()) : why);
  }
  return fmt::format("{} pay, from an acceptance of {:.2f} on ({}; {:.2f}x if all were accepted)",
                     *break_even > kHighAcceptance ? "can hardly" : "can", *break_even, where, full.speedup());
}

std::string to_text(const Advice& advice, const AdviceCase& of) {
  std::string text = fmt::format("{}: {}.\n", advice.cell, verdict_of(advice));
  if (!advice.mismatch.empty() || !advice.drafts) return text;
  text += shape_words(advice) + cost_words(advice) + cache_words(advice, of);
  if (!advice.experts.empty()) text += "By bytes: " + advice.experts + ".";
  while (text.ends_with(' ')) text.pop_back();
  text += "\n\n";
  util::Table table({"batch", "length", "draft", "verify", "<bound by", "KV, %", "break-even", "if all accepted"});
  for (const AdvisedRow& row : advice.rows) {
    const cost::operators::SpeculationCosts& c = row.full.costs;
    const std::optional<double>& break_even = row.full.prediction.break_even;
    table.add({std::to_string(row.batch), std::to_string(row.length), fmt::format("{:.2f}", c.draft / c.plain),
               fmt::format("{:.2f}", c.verify / c.plain), name_of(c.verify_bound),
               fmt::format("{:.0f}", 100 * c.cache_fraction), break_even ? fmt::format("{:.2f}", *break_even) : "none",
               fmt::format("{:.2f}x", row.full.speedup())});
  }
  return text + table.to_string();
}

nlohmann::ordered_json to_json(const Advice& advice) {
  nlohmann::ordered_json json{{"cell", advice.cell}, {"verdict", verdict_of(advice)}};
  if (!advice.mismatch.empty() || !advice.drafts) return json;
  json["priced"] = advice.priced;
  json["target_parameters"] = advice.target_parameters;
  json["active_parameters"] = advice.active_parameters;
  json["draft_parameters"] = advice.draft_parameters;
  json["half_cache_context"] = advice.half_cache_context ? nlohmann::ordered_json(*advice.half_cache_context) : nullptr;
  json["own"] = row_json(advice.own);
  json["rows"] = nlohmann::ordered_json::array();
  for (const AdvisedRow& row : advice.rows) json["rows"].push_back(row_json(row));
  if (!advice.experts.empty()) json["experts"] = advice.experts;
  return json;
}

}  // namespace foretell::analysis
