#include "experiments/study/plugin_certificate.h"

#include <nlohmann/json.hpp>

#include <fstream>
#include <system_error>

#include "framework/core/error.h"
#include "framework/plugin/plugin.h"

namespace foretell::study {
namespace {

constexpr std::uintmax_t kLargestCertificate = 1 << 20;

bool holds(const nlohmann::json& file, const char* key, std::string_view text) {
  const auto found = file.find(key);
  return found != file.end() && found->is_string() && found->get_ref<const std::string&>() == text;
}

}  // namespace

std::filesystem::path certificate_file(const std::filesystem::path& plugin) { return plugin.string() + ".certified"; }

std::set<std::string> certified_drafters(const std::filesystem::path& plugin, const std::string& hash) {
  const std::filesystem::path path = certificate_file(plugin);
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error) || std::filesystem::file_size(path, error) > kLargestCertificate)
    return {};
  std::ifstream in(path);
  const nlohmann::json file = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!file.is_object() || !holds(file, "hash", hash) || !holds(file, "abi", plugin::plugin_abi_tag()) ||
      !file.contains("drafters"))
    return {};
  std::set<std::string> drafters;
  for (const auto& drafter : file.at("drafters"))
    if (drafter.is_string()) drafters.insert(drafter.get<std::string>());
  return drafters;
}

void write_certificate(const std::filesystem::path& plugin, PluginCertificate certificate) {
  certificate.drafters.merge(certified_drafters(plugin, certificate.hash));
  const nlohmann::ordered_json file = {
      {"abi", plugin::plugin_abi_tag()}, {"hash", certificate.hash}, {"drafters", certificate.drafters}};
  std::ofstream out(certificate_file(plugin), std::ios::trunc);
  out << file.dump(2) << '\n' << std::flush;
  if (!out) fail("{}: cannot be written", certificate_file(plugin).string());
}

}  // namespace foretell::study
