#include "framework/core/registry.h"

#include <algorithm>

namespace foretell {
namespace {

// Lower case, without what people leave out or add when they write a name.
std::string bare(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '+') out += 'p';
    if (c >= 'A' && c <= 'Z') out += static_cast<char>(c - 'A' + 'a');
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || static_cast<unsigned char>(c) >= 0x80) out += c;
  }
  return out;
}

// The strategy that is called so here or elsewhere, else the one with a name that is near.
std::optional<std::string> meant(std::string_view name, const std::vector<KnownStrategy>& known) {
  std::vector<std::string> names, others, owners;
  for (const KnownStrategy& strategy : known) {
    if (same_name(name, strategy.name)) return strategy.name;
    names.push_back(strategy.name);
    others.insert(others.end(), strategy.also_known_as.begin(), strategy.also_known_as.end());
    owners.resize(others.size(), strategy.name);
  }
  const auto owner = [&](auto found) { return owners[static_cast<std::size_t>(found - others.begin())]; };
  const auto same =
      std::find_if(others.begin(), others.end(), [&](const auto& other) { return same_name(name, other); });
  if (same != others.end()) return owner(same);
  if (auto near = nearest_name(name, names)) return near;
  const auto near = nearest_name(name, others);
  return near ? std::optional(owner(std::find(others.begin(), others.end(), *near))) : std::nullopt;
}

}  // namespace

std::vector<PendingStrategy>*& pending_strategies() {
  static std::vector<PendingStrategy>* pending = nullptr;
  return pending;
}

bool same_name(std::string_view a, std::string_view b) {
  const std::string bare_a = bare(a);
  return !bare_a.empty() && bare_a == bare(b);
}

std::string unknown_strategy_message(std::string_view kind, std::string_view name,
                                     const std::vector<KnownStrategy>& known) {
  std::vector<std::string> names;
  names.reserve(known.size());
  for (const KnownStrategy& strategy : known) names.push_back(strategy.name);
  return unknown_name_message(kind, name, names, meant(name, known));
}

}  // namespace foretell
