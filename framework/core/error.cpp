#include "framework/core/error.h"
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "framework/core/printable.h"

namespace foretell {
namespace {

int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

void check_failed(const char* condition, const std::string& values, const char* file, int line) {
  throw InternalError(fmt::format("internal error at {}:{}: expected {}; {}", file, line, condition, values));
}

ContractError::ContractError(std::string rule, const char* file, int line)
    : InternalError(fmt::format("internal error at {}:{}: {}", file, line, rule)), rule_(std::move(rule)) {}

void contract_broken(std::string rule, const char* file, int line) { throw ContractError(std::move(rule), file, line); }

std::string with_article(std::string_view noun) {
  const bool vowel = !noun.empty() && std::string_view("aeiouAEIOU").find(noun.front()) != std::string_view::npos;
  return fmt::format("{} {}", vowel ? "an" : "a", noun);
}

std::optional<std::string> nearest_name(std::string_view name, std::span<const std::string> known) {
  std::optional<std::string> best;
  int best_distance = 0;
  for (const std::string& candidate : known) {
    // A long name is compared at its full cost, so a hostile key of a megabyte must not reach the quadratic part.
    if (name.size() > 4 * candidate.size() + 4) continue;
    const int distance = edit_distance(name, candidate);
    const auto allowed = static_cast<int>(std::max(name.size(), candidate.size()) + 2) / 3;
    if (distance <= allowed && (!best || distance < best_distance)) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string unknown_name_message(std::string_view kind, std::string_view name, std::span<const std::string> known) {
  return unknown_name_message(kind, name, known, nearest_name(name, known));
}

std::string unknown_name_message(std::string_view kind, std::string_view name, std::span<const std::string> known,
                                 const std::optional<std::string>& meant) {
  return fmt::format("unknown {} '{}'{}; known: {}", kind, excerpt(name),
                     meant ? fmt::format(" (did you mean '{}'?)", *meant) : "", fmt::join(known, ", "));
}

}  // namespace foretell
