#include <nlohmann/json.hpp>

#include <algorithm>

#include "experiments/certify/certificate.h"
#include "experiments/commands/commands.h"
#include "experiments/console.h"
#include "experiments/negative_result.h"
#include "experiments/plugins.h"
#include "experiments/progress.h"
#include "experiments/table.h"
#include "framework/base/error.h"

namespace foretell {
namespace {

struct CertifyOptions {
  certify::CertificateOptions settings;
  std::vector<std::string> plugins;
  bool json = false;
};

std::string number(const std::optional<double>& value, const char* format) {
  return value ? fmt::format(fmt::runtime(format), *value) : "-";
}

nlohmann::ordered_json json_of(const certify::CertificateRow& row) {
  const auto optional = [](const auto& value) { return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(); };
  nlohmann::ordered_json out = {{"verifier", row.verifier}, {"drafter", row.draft}, {"verdict", to_string(row.verdict)}};
  out["reason"] = row.reason.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(row.reason);
  const auto& exact = row.exact;
  out["tv"] = exact ? nlohmann::ordered_json(exact->total_variation) : nlohmann::ordered_json();
  out["tv_later"] = exact ? nlohmann::ordered_json(exact->later_variation) : nlohmann::ordered_json();
  out["tv_residual"] = exact ? optional(exact->residual_variation) : nlohmann::ordered_json();
  out["expected_tokens"] = exact ? nlohmann::ordered_json(exact->expected_tokens) : nlohmann::ordered_json();
  out["first_drafted"] = exact ? optional(exact->first_drafted) : nlohmann::ordered_json();
  out["transport_bound"] = exact ? optional(exact->transport_bound) : nlohmann::ordered_json();
  out["chi_square_p"] = optional(row.p_value);
  out["identical_at_0"] = optional(row.identical);
  return out;
}

void print_table(const std::vector<certify::CertificateRow>& rows) {
  Table table({"<verifier", "<draft", "<verdict", "total variation", "tokens/round", "first drafted", "bound", "chi-square p", "<T=0"});
  std::string last;
  std::vector<std::string> refused;
  for (const auto& row : rows) {
    if (row.verdict == certify::Ruling::NotApplicable) {
      refused.push_back(fmt::format("{} on {}: {}", row.verifier, row.draft, row.reason));
      continue;
    }
    if (!last.empty() && last != row.verifier) table.add_rule();
    last = row.verifier;
    const auto of = [&](auto field) { return row.exact ? std::optional<double>(field(*row.exact)) : std::nullopt; };
    const auto tv = of([](const auto& e) { return std::max(e.total_variation, e.later_variation); });
    table.add({row.verifier, row.draft, to_string(row.verdict), tv && *tv < 1e-12 ? "< 1e-12" : number(tv, "{:.4f}"),
               number(of([](const auto& e) { return e.expected_tokens; }), "{:.4f}"),
               number(row.exact ? row.exact->first_drafted : std::nullopt, "{:.4f}"),
               number(row.exact ? row.exact->transport_bound : std::nullopt, "{:.4f}"), number(row.p_value, "{:.3f}"),
               !row.identical   ? "-"
               : *row.identical ? "same"
                                : "differs"});
  }
  print_out(table.to_string());
  if (!refused.empty()) print_out("\nrefused, and why:\n");
  for (const std::string& line : refused) print_out("  " + line + "\n");
}

void run_certify(const CertifyOptions& options) {
  load_plugins(options.plugins);
  certify::CertificateOptions settings = options.settings;
  Progress progress(1, "pairs");
  settings.on_row = [&](int row, int rows) {
    if (row == 0) return progress.start_cell("certify", rows);
    progress.advance(1);
  };
  const auto rows = certify::certify(settings);
  progress.advance(1);
  progress.finish_cell();
  auto json = nlohmann::ordered_json::array();
  for (const auto& row : rows)
    if (row.verdict != certify::Ruling::NotApplicable) json.push_back(json_of(row));
  options.json ? print_json(json) : print_table(rows);
  std::string failed;
  for (const auto& row : rows)
    if (row.verdict == certify::Ruling::Failed) failed += fmt::format("FAILED {} on {}: {}\n", row.verifier, row.draft, row.reason);
  if (failed.empty()) return;
  print_error(failed);
  throw NegativeResult();
}

}  // namespace

void add_certify_command(Command app) {
  auto options = std::make_shared<CertifyOptions>();
  Command command =
      app.add_command("certify", "Whether verifiers emit the target's law: by exact enumeration, by chi-square, token by token");
  command.add("--verifier", options->settings.verifier, "a verifier's name", {.type = "NAME", .show_default = true});
  command.add("--drafter", options->settings.drafter, "a drafter's name", {.type = "NAME", .show_default = true});
  add_plugin_option(command, options->plugins);
  command.add_flag("--full", options->settings.full, "more toy laws and more draws: minutes instead of seconds");
  command.add_flag("--json", options->json, "as a JSON array");
  command.run([options] { run_certify(*options); });
}

}  // namespace foretell
