#include <algorithm>
#include <cctype>
#include <fstream>
#include <system_error>

#include "experiments/cli/commands/strategies/commands.h"
#include "experiments/cli/commands/strategies/plugin_templates.h"
#include "experiments/util/console.h"
#include "framework/api/attention_policy.h"
#include "framework/api/exit_policy.h"
#include "framework/api/policy.h"
#include "framework/api/router.h"
#include "framework/api/verifier.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"

namespace foretell::cli::commands::strategies {
namespace {

namespace fs = std::filesystem;

struct NewOptions {
  std::string kind, name;
  std::optional<std::string> folder;
};

bool is_one_of(std::string_view words, const std::string& name) {
  return fmt::format(" {} ", words).find(fmt::format(" {} ", name)) != std::string::npos;
}

constexpr std::string_view kKeywords =
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class "
    "co_await "
    "co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype default delete "
    "do "
    "double dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable "
    "namespace "
    "new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires "
    "return "
    "short signed sizeof static static_assert static_cast struct switch template this thread_local throw true try "
    "typedef "
    "typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq";

// What a name in lower case means to something that reads it; null if nothing.
const char* reserved_for(const std::string& name) {
  if (name == "all") return "commands take it for all of them";
  if (is_one_of("null true false", name)) return "YAML reads it as a value that is no text";
  if (is_one_of("none auto own random target", name)) return "studies take it for a choice of their own";
  if (is_one_of(kKeywords, name)) return "it is a keyword of C++";
  return is_one_of("foretell std", name) ? "it is a namespace" : nullptr;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

void check_strategy_name(const std::string& name) {
  const auto letter = [](unsigned char c) { return std::isalpha(c) && c < 128; };
  const auto inner = [&](unsigned char c) { return letter(c) || (c >= '0' && c <= '9') || c == '_'; };
  if (name.empty() || name.size() > 64 || !letter(static_cast<unsigned char>(name.front())) ||
      !std::all_of(name.begin(), name.end(), inner))
    fail("'{}' cannot name a strategy: a letter, then letters, digits and '_', at most 64 in all", printable(name));
  if (name.find("__") != std::string::npos || name.back() == '_')
    fail("'{}' cannot name a strategy: two '_' side by side or one at the end", printable(name));
  if (const char* const why = reserved_for(lower(name))) fail("'{}' cannot name a strategy: {}", printable(name), why);
}

// `kind`: what the command calls the interface.
template <class Interface>
void check_not_registered(const char* kind, const NewOptions& options) {
  if (options.kind != kind) return;
  const Registry<Interface>& registry = Registry<Interface>::instance();
  const auto entry = registry.entries().find(options.name);
  if (entry != registry.entries().end()) fail("{}", registry.already_registered(options.name, entry->second));
}

// Where this program was installed to; empty if it runs from a build folder.
std::string installed_prefix() {
  std::error_code error;
  const fs::path prefix = fs::read_symlink("/proc/self/exe", error).parent_path().parent_path();
  if (error || !fs::exists(prefix / "include/foretell/foretell_interfaces.h", error)) return "";
  return prefix.string();
}

void make_plugin_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(folder, error)) && !fs::is_directory(folder, error))
    fail("{}: is no folder", folder.string());
  fs::create_directories(folder, error);
  if (error) fail("{}: cannot be made: {}", folder.string(), error.message());
  if (!fs::is_empty(folder, error) || error)
    fail("{}: is not empty; a plug-in gets a folder of its own (--dir)", folder.string());
}

void write_file(const fs::path& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary);
  out << text;
  out.close();
  if (!out) fail("{}: cannot be written", file.string());
}

void new_plugin(const NewOptions& options) {
  check_strategy_name(options.name);
  check_not_registered<Drafter>("drafter", options);
  check_not_registered<Verifier>("verifier", options);
  check_not_registered<DraftPolicy>("policy", options);
  check_not_registered<TreePolicy>("tree", options);
  check_not_registered<AttentionPolicy>("attention", options);
  check_not_registered<Router>("router", options);
  check_not_registered<ExitPolicy>("exit", options);
  const fs::path folder = options.folder.value_or(options.name);
  if (folder.empty()) fail("--dir: an empty name is no folder");
  const std::string prefix = installed_prefix();
  make_plugin_folder(folder);
  for (const TemplateFile& file : plugin_template(options.kind, options.name, prefix))
    write_file(folder / file.name, file.text);
  util::print_out(fmt::format("{}: {} '{}' that works; {} says how to build, list, run and test it\n", folder.string(),
                              a_kind(options.kind), options.name, (folder / "README.md").string()));
  if (prefix.empty())
    util::print_out("A plug-in is built with an installed Foretell: cmake --install BUILD --prefix PREFIX\n");
}

}  // namespace

void add_new_command(util::Command app) {
  auto options = std::make_shared<NewOptions>();
  util::Command command = app.add_command("new", "Start a plug-in: a folder with a strategy that works, to be changed");
  command.add("kind", options->kind, "drafter, verifier, policy, tree, attention, router or exit",
              {.type = "KIND", .required = true, .choices = plugin_kinds()});
  command.add("name", options->name, "what studies call it", {.type = "NAME", .required = true});
  command.add("--dir", options->folder, "the folder, which must be new or empty; without it the name", {.type = "DIR"});
  command.run([options] { new_plugin(*options); });
}

}  // namespace foretell::cli::commands::strategies
