#include "experiments/report/comparison.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "experiments/analysis/measures.h"
#include "experiments/report/report_files.h"
#include "experiments/results/record_reader.h"
#include "experiments/util/console.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/metrics/statistics.h"

namespace foretell::report {
namespace {

using ComparedJson = nlohmann::ordered_json;

// What an answer is, by hashes: its tokens where they are known, and its text.
struct AnswerHash {
  std::optional<std::size_t> tokens = {};
  std::size_t text = 0;
};
std::size_t token_hash(const Tokens& tokens) {
  return std::hash<std::string_view>()({reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(Token)});
}

using Answers = std::map<std::pair<std::string, int>, AnswerHash>;  // by conversation and turn

Answers answers_of(const StudyFolder& study, const ReportCell& cell) {
  if (!cell.damage.empty()) fail("{} (`foretell run` with the same study makes the cell whole)", cell.damage);
  Answers out;
  for (const results::GenerationRecord& record : results::undamaged_records(study.folder / cell.hash)) {
    if (record.arm != results::PipelineVariant::Method || record.repeat != 0) continue;
    AnswerHash& answer = out[{record.conversation, record.turn}];
    // Imported rows know a text and no tokens.
    if (!record.tokens.empty() || record.text.empty()) answer.tokens = token_hash(record.tokens);
    answer.text = std::hash<std::string>()(record.text);
  }
  return out;
}

void compare_answers(const Answers& a, const Answers& b, CellPair& pair) {
  for (const auto& [key, answer] : a) {
    const auto other = b.find(key);
    if (other == b.end()) continue;
    ++pair.answers;
    const bool same = answer.tokens && other->second.tokens ? answer.tokens == other->second.tokens
                                                            : answer.text == other->second.text;
    pair.different += !same;
  }
}

// The values that a fact has in a study, in their order; most often one.
std::string values_of(const StudyFolder& study, Facts ReportCell::*facts, const std::string& what) {
  std::vector<std::string> values;
  for (const ReportCell& cell : study.cells)
    for (const auto& [name, value] : cell.*facts)
      if (name == what && std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
  std::string out;
  for (const std::string& value : values) out += (out.empty() ? "" : "; ") + value;
  return out;
}

void compare_facts(const StudyFolder& a, const StudyFolder& b, Facts ReportCell::*facts,
                   std::vector<FactDifference>& different, std::vector<std::string>* same) {
  std::vector<std::string> order;
  for (const StudyFolder* study : {&a, &b})
    for (const ReportCell& cell : study->cells)
      for (const auto& [what, value] : cell.*facts)
        if (std::find(order.begin(), order.end(), what) == order.end()) order.push_back(what);
  for (const std::string& what : order) {
    const std::string left = values_of(a, facts, what), right = values_of(b, facts, what);
    if (left != right)
      different.push_back({what, left, right});
    else if (same)
      same->push_back(what);
  }
}

// Cells whose settings no other cell of `left` has.
std::map<std::string, const ReportCell*> by_settings(const std::vector<const ReportCell*>& left) {
  std::map<std::string, int> count;
  for (const ReportCell* cell : left) ++count[cell->settings_key];
  std::map<std::string, const ReportCell*> out;
  for (const ReportCell* cell : left)
    if (count[cell->settings_key] == 1) out[cell->settings_key] = cell;
  return out;
}

std::optional<double> number_of(const ReportCell& cell, std::string_view name) {
  const TaskNumbers* overall = cell.overall();
  return overall ? overall->at(name) : std::nullopt;
}

bool is_unreliable(const ReportCell& cell) { return cell.overall() && cell.overall()->unreliable(); }
bool has_unreliable(const CellPair& pair) { return is_unreliable(*pair.a) || is_unreliable(*pair.b); }

// Of speeds: none where the timing of a side is unreliable.
std::optional<double> ratio_of(const CellPair& pair, std::string_view name) {
  if (has_unreliable(pair)) return std::nullopt;
  const auto a = number_of(*pair.a, name), b = number_of(*pair.b, name);
  if (!a || !b || *a == 0) return std::nullopt;
  return *b / *a;
}

std::optional<bool> intervals_overlap(const CellPair& pair) {
  if (has_unreliable(pair)) return std::nullopt;
  const auto low_a = number_of(*pair.a, "speedup_interval_low"), high_a = number_of(*pair.a, "speedup_interval_high");
  const auto low_b = number_of(*pair.b, "speedup_interval_low"), high_b = number_of(*pair.b, "speedup_interval_high");
  if (!low_a || !high_a || !low_b || !high_b) return std::nullopt;
  return *low_a <= *high_b && *low_b <= *high_a;
}

std::string tokens_text(const CellPair& pair) {
  if (pair.answers == 0) return "-";
  return pair.different == 0 ? "same" : fmt::format("{} of {} differ", pair.different, pair.answers);
}

std::string interval_of(const ReportCell& cell) {
  if (is_unreliable(cell)) return std::string(name_of(metrics::SpeedupVerdict::UnreliableTiming));
  return cell.overall() ? interval_text(*cell.overall()) : "-";
}

std::string known_or(const std::string& text) { return text.empty() ? "-" : text; }

ComparedJson number_json(const std::optional<double>& value) {
  return value ? ComparedJson(*value) : ComparedJson(nullptr);
}

ComparedJson side_json(const ReportCell& cell) {
  ComparedJson out = {{"name", cell.name}, {"hash", cell.hash}, {"state", name_of(cell.state)}};
  for (const char* name :
       {"mean_acceptance_length", "tokens_per_second", "speedup", "speedup_interval_low", "speedup_interval_high"})
    out[name] = number_json(number_of(cell, name));
  const TaskNumbers* overall = cell.overall();
  out["verdict"] = overall && !overall->verdict.empty() ? ComparedJson(overall->verdict) : ComparedJson(nullptr);
  out["given_acceptance"] = cell.given.empty() ? ComparedJson(nullptr) : ComparedJson(cell.given);
  return out;
}

ComparedJson differences_json(const std::vector<FactDifference>& differences) {
  auto out = ComparedJson::array();
  for (const FactDifference& d : differences) out.push_back({{"what", d.what}, {"a", d.a}, {"b", d.b}});
  return out;
}

ComparedJson names_json(const std::vector<const ReportCell*>& cells) {
  auto out = ComparedJson::array();
  for (const ReportCell* cell : cells) out.push_back(cell->name);
  return out;
}

}  // namespace

Comparison compare(const StudyFolder& a, const StudyFolder& b) {
  Comparison out;
  compare_facts(a, b, &ReportCell::machine, out.machine, &out.same);
  compare_facts(a, b, &ReportCell::models, out.models, nullptr);
  std::map<std::string, const ReportCell*> hashes;
  for (const ReportCell& cell : b.cells) hashes[cell.hash] = &cell;
  std::set<const ReportCell*> paired;
  std::vector<const ReportCell*> left_a, left_b;
  std::map<const ReportCell*, CellPair> pairs;
  const auto pair = [&](const ReportCell* one, const ReportCell* other, bool by_hash) {
    pairs[one] = {.a = one, .b = other, .by_hash = by_hash};
    paired.insert({one, other});
  };
  for (const ReportCell& cell : a.cells)
    if (const auto it = hashes.find(cell.hash); it != hashes.end() && !paired.count(it->second))
      pair(&cell, it->second, true);
  for (const ReportCell& cell : a.cells)
    if (!paired.count(&cell)) left_a.push_back(&cell);
  for (const ReportCell& cell : b.cells)
    if (!paired.count(&cell)) left_b.push_back(&cell);
  const auto settings_a = by_settings(left_a), settings_b = by_settings(left_b);
  for (const auto& [settings, cell] : settings_a)
    if (const auto it = settings_b.find(settings); it != settings_b.end()) pair(cell, it->second, false);
  for (const ReportCell& cell : a.cells) {
    const auto it = pairs.find(&cell);
    if (it == pairs.end()) {
      out.only_a.push_back(&cell);
      continue;
    }
    compare_answers(answers_of(a, *it->second.a), answers_of(b, *it->second.b), it->second);
    out.pairs.push_back(it->second);
  }
  for (const ReportCell* cell : left_b)
    if (!paired.count(cell)) out.only_b.push_back(cell);
  return out;
}

std::string comparison_text(const StudyFolder& a, const StudyFolder& b, const Comparison& comparison) {
  std::string out = fmt::format("A: {} ({})\nB: {} ({})\n\n", a.folder.string(), printable(a.study), b.folder.string(),
                                printable(b.study));
  ReportTable facts{.headings = {"<different", "<A", "<B"}};
  for (const auto* list : {&comparison.machine, &comparison.models})
    for (const FactDifference& d : *list) facts.rows.push_back({d.what, known_or(d.a), known_or(d.b)});
  if (!facts.empty()) out += aligned(facts) + "\n";
  if (!comparison.same.empty()) out += fmt::format("The same on both sides: {}.\n\n", fmt::join(comparison.same, ", "));
  if (facts.empty() && comparison.same.empty()) out += "Neither folder tells what machine it is from.\n\n";
  ReportTable table{.headings = {"<cell", "A tokens/s", "B tokens/s", "B/A", "A speed-up", "interval", "B speed-up",
                                 "interval", "B/A", "<intervals", "A acc. length", "B acc. length", "<tokens"}};
  bool by_settings = false;
  for (const CellPair& pair : comparison.pairs) {
    const auto overlap = intervals_overlap(pair);
    by_settings |= !pair.by_hash;
    table.rows.push_back(
        {pair.a->name + (pair.a->given.empty() ? "" : " [given acceptance]") + (pair.by_hash ? "" : " *"),
         analysis::formatted(number_of(*pair.a, "tokens_per_second"), analysis::NumberFormat::OneDigit),
         analysis::formatted(number_of(*pair.b, "tokens_per_second"), analysis::NumberFormat::OneDigit),
         analysis::formatted(ratio_of(pair, "tokens_per_second"), analysis::NumberFormat::Ratio),
         analysis::formatted(number_of(*pair.a, "speedup"), analysis::NumberFormat::Ratio), interval_of(*pair.a),
         analysis::formatted(number_of(*pair.b, "speedup"), analysis::NumberFormat::Ratio), interval_of(*pair.b),
         analysis::formatted(ratio_of(pair, "speedup"), analysis::NumberFormat::Ratio),
         !overlap   ? "-"
         : *overlap ? "overlap"
                    : "apart",
         analysis::formatted(number_of(*pair.a, "mean_acceptance_length"), analysis::NumberFormat::ThreeDigits),
         analysis::formatted(number_of(*pair.b, "mean_acceptance_length"), analysis::NumberFormat::ThreeDigits),
         tokens_text(pair)});
  }
  out += table.empty() ? "No cell of A is in B, neither by its hash nor by its settings.\n" : aligned(table);
  if (by_settings)
    out += "* paired by equal settings: something else of the two cells differs (model, workload or run).\n";
  for (const auto& [cells, side] : {std::pair{&comparison.only_a, "A"}, {&comparison.only_b, "B"}})
    for (const ReportCell* cell : *cells) out += fmt::format("only in {}: {}\n", side, printable(cell->name));
  return out;
}

nlohmann::ordered_json comparison_json(const StudyFolder& a, const StudyFolder& b, const Comparison& comparison) {
  auto cells = ComparedJson::array();
  for (const CellPair& pair : comparison.pairs) {
    const auto overlap = intervals_overlap(pair);
    cells.push_back({{"paired_by", pair.by_hash ? "hash" : "settings"},
                     {"a", side_json(*pair.a)},
                     {"b", side_json(*pair.b)},
                     {"tokens_per_second_ratio", number_json(ratio_of(pair, "tokens_per_second"))},
                     {"speedup_ratio", number_json(ratio_of(pair, "speedup"))},
                     {"intervals_overlap", overlap ? ComparedJson(*overlap) : ComparedJson(nullptr)},
                     {"answers", pair.answers},
                     {"different_answers", pair.different}});
  }
  return {{"a", {{"folder", a.folder.string()}, {"study", a.study}}},
          {"b", {{"folder", b.folder.string()}, {"study", b.study}}},
          {"machine", differences_json(comparison.machine)},
          {"models", differences_json(comparison.models)},
          {"cells", cells},
          {"only_in_a", names_json(comparison.only_a)},
          {"only_in_b", names_json(comparison.only_b)}};
}

}  // namespace foretell::report
