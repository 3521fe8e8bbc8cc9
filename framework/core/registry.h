/// @file
/// One file adds a strategy: the class, and one line that registers it.
///
/// Contract: Registry<Interface> maps a name to a factory and to what `foretell list` prints. Registration happens
/// while a program is being loaded; a name registered twice is an InternalError. The instance of each registry lives in
/// libforetell, so strategies in the executable and in plug-ins meet in the same one. What a plug-in registers waits
/// until its loader adds it (framework/plugin/plugin.h), because no exception can leave a static initialiser: there a
/// name registered twice is an Error. What a plug-in's factory makes comes with a guard around it, which checks the
/// interface's contract and names the plug-in where it is broken (framework/api/plugin_guards.h), wherever the strategy
/// is used.
///
/// A strategy is a class with `struct Options { ...; void declare(Parameters&); }` and a constructor (Options, const
/// BuildContext&):
///
/// @code{.cpp}
/// FORETELL_REGISTER(Drafter, PromptLookup, "prompt_lookup", {.summary = "copies what followed the newest tokens"});
/// @endcode
#pragma once

#include <concepts>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/core/config_value.h"
#include "framework/core/error.h"
#include "framework/core/parameters.h"
#include "framework/core/plugin_call.h"

namespace foretell {

struct BuildContext;  // framework/api/build_context.h

/// Where a strategy was published.
struct Paper {
  std::string authors = {};  ///< "Leviathan et al."; empty: the strategy is ours
  int year = 0;              ///< of the first version
  std::string arxiv = {};    ///< "2211.17192"; empty: not published there
};

/// Where two surveys place a strategy: as they list the method, or by their definition of the class; empty where
/// neither settles it. Both classify drafting, and the first also how candidates are chosen for verification.
struct Taxonomy {
  std::string focus = {};    ///< Ryu and Kim 2024, arXiv 2411.13157: "model-centric" or "draft-centric"
  std::string ryu2024 = {};  ///< its class there: "independent draft model", "hybrid and adaptive"
  std::string xia2024 = {};  ///< its class in Xia et al. 2024, arXiv 2401.07851: "independent drafting: small LM"
  /// Whether neither survey has a place for it.
  bool empty() const { return focus.empty() && ryu2024.empty() && xia2024.empty(); }
};

/// How a verifier decides about drafted tokens, as far as a draft's distribution can be told from the tokens emitted.
enum class AcceptanceRule {
  Other,      ///< it cannot
  Matching,   ///< the emitted token has the target's distribution whatever was drafted, and is matched with the draft
  Rejection,  ///< the proposals of a node are tested one after the other as in rejection_walk.h
};

/// What a registration says about a strategy.
struct StrategyInfo {
  std::string summary = {};           ///< one line for `foretell list`
  std::optional<bool> lossless = {};  ///< of verifiers: whether the output has the target's distribution
  bool stateful = false;              ///< behaviour depends on earlier prompts: promises the distribution only
  bool uses_wall_clock = false;       ///< behaviour depends on measured time: likewise
  /// What is accepted was fed in: a known answer, stated or recorded rates. Numbers of such a pipeline are recomputed,
  /// never measured or reproduced, and so are those of a strategy that is made of one that says so.
  bool given_acceptance = false;
  /// Of verifiers: needs more of the target than the argmax at temperature 0. Of drafters: observe() or the draft's
  /// scored-only nodes need the target's logits off the emitted path.
  bool needs_logits = false;
  bool draws_through_context = false;                 ///< of drafters: as DrafterTraits has it
  bool rewinds = false;                               ///< of drafters: as DrafterTraits has it
  AcceptanceRule acceptance = AcceptanceRule::Other;  ///< of verifiers
  Paper paper = {};                                   ///< that it follows; the docs name its deviations
  /// Names in papers and other programs ("MagicDec"). `foretell list` finds it by them, and a study that uses one is
  /// told the name here.
  std::vector<std::string> also_known_as = {};
  Taxonomy taxonomy = {};      ///< where surveys place it
  std::string preset_of = {};  ///< the strategy that it is with some parameters set
};

/// Whether two names differ at most in case, spaces and punctuation: "EAGLE-2" and "eagle2". '+' reads as 'p'.
bool same_name(std::string_view a, std::string_view b);

/// A registered name and what else the strategy is called.
struct KnownStrategy {
  std::string name;                        ///< in the registry
  std::vector<std::string> also_known_as;  ///< elsewhere
};

/// As unknown_name_message(); a name from a paper or another program suggests the strategy that it is there.
std::string unknown_strategy_message(std::string_view kind, std::string_view name,
                                     const std::vector<KnownStrategy>& known);

/// What all strategies have in common: the name that they were made by, for messages.
class Strategy {
 public:
  virtual ~Strategy() = default;
  /// "drafter 'model'", "drafter 'bigram' of plug-in libbigram.so".
  const std::string& label() const { return label_; }
  /// Whether it was loaded from a shared library.
  bool from_plugin() const { return from_plugin_; }
  /// What its registration says.
  const StrategyInfo& info() const { return info_; }
  /// Called by the registry that made it.
  void set_registration(std::string label, bool from_plugin, StrategyInfo info) {
    label_ = std::move(label);
    from_plugin_ = from_plugin;
    info_ = std::move(info);
  }

 protected:
  /// @{
  /// For derived classes alone.
  Strategy() = default;
  Strategy(const Strategy&) = default;
  Strategy& operator=(const Strategy&) = default;
  /// @}

 private:
  std::string label_ = "a strategy";  // no registry made it
  bool from_plugin_ = false;
  StrategyInfo info_;
};

/// A registration that a plug-in has made and that is not in its registry yet.
struct PendingStrategy {
  /// @{
  /// The registry that it is for ("drafter"), and its name there.
  std::string kind, name;
  /// @}
  /// An Error if the name is taken.
  std::function<void(const std::string& plugin)> add;
};

/// Where registrations go while a plug-in is being loaded; null at all other times.
std::vector<PendingStrategy>*& pending_strategies();

/// The strategies of one interface, by name.
template <class Interface>
class Registry {
 public:
  /// A registered strategy.
  struct Entry {
    StrategyInfo info;  ///< as registered
    /// Its parameters with their defaults.
    std::function<std::vector<ParameterDoc>()> parameters;
    /// Builds one from `{type: name, ...}`.
    std::function<std::unique_ptr<Interface>(const ConfigValue&, const BuildContext&)> make;
    Location where;           ///< of its registration
    std::string plugin = {};  ///< the file that it was loaded from; empty: built in
  };

  /// The one registry of this interface, in libforetell.
  static Registry& instance();

  /// Registers; always true, so that a static variable can hold the call.
  bool add(const std::string& name, Entry entry) {
    if (std::vector<PendingStrategy>* pending = pending_strategies()) {
      pending->push_back({kind(), name, [this, name, entry = std::move(entry)](const std::string& plugin) {
                            const auto [it, added] = entries_.emplace(name, guarded(name, plugin, entry));
                            if (!added) throw Error(already_registered(it->first, it->second));
                          }});
      return true;
    }
    const auto [it, added] = entries_.emplace(name, std::move(entry));
    FORETELL_CHECK(added, "{}", already_registered(it->first, it->second));
    return true;
  }

  /// "drafter 'model' is already registered in drafters/model.cpp:12"
  static std::string already_registered(const std::string& name, const Entry& entry) {
    const std::string from = entry.plugin.empty() ? "" : fmt::format(" of {}", entry.plugin);
    return fmt::format("{} '{}' is already registered in {}{}", kind(), name, entry.where.to_string(), from);
  }

  /// All strategies, by name.
  const std::map<std::string, Entry>& entries() const { return entries_; }

  /// The strategy of that name; an Error at `where` that suggests the nearest name.
  const Entry& find(const std::string& name, const Location& where) const {
    const auto it = entries_.find(name);
    if (it == entries_.end()) throw Error(where, unknown(name));
    return it->second;
  }

  /// "unknown drafter 'MagicDec' (did you mean 'sparse_cache'?); known: ..."
  std::string unknown(const std::string& name) const {
    std::vector<KnownStrategy> known;
    for (const auto& [other, entry] : entries_) known.push_back({other, entry.info.also_known_as});
    return unknown_strategy_message(kind(), name, known);
  }

  /// Builds what `{type: name, key: value, ...}` describes.
  std::unique_ptr<Interface> make(const ConfigValue& description, const BuildContext& context) const {
    return placed_at(description.blamed(), [&] {
      const Entry& entry = find(description);
      std::unique_ptr<Interface> made = entry.make(description, context);
      const PluginStrategy who{kind(), type_of(description), entry.plugin};
      made->set_registration(who.label(), !entry.plugin.empty(), entry.info);
      return made;
    });
  }

  /// Whom it names; an Error where the name was written if that is nobody.
  const Entry& find(const ConfigValue& description) const {
    const ConfigValue* type = description.find("type");  // none in the short form
    return find(type_of(description), type ? type->where() : description.where());
  }

  /// The name in `{type: name, ...}`, or in the short form `name`.
  std::string type_of(const ConfigValue& description) const {
    if (description.is_scalar()) return description.text();
    const ConfigValue* type = description.find("type");
    if (!type) fail_at(description.where(), "{} needs the key 'type'", with_article(kind()));
    return read_text(*type, "type");
  }

  /// "drafter", "verifier", ... for messages.
  static const char* kind();

 private:
  // Defined for each interface in framework/api/plugin_guards.cpp.
  static std::unique_ptr<Interface> guard(const PluginStrategy& who, std::unique_ptr<Interface> strategy);

  static Entry guarded(const std::string& name, const std::string& plugin, const Entry& entry) {
    const PluginStrategy who{kind(), name, plugin};
    Entry out = entry;
    out.plugin = plugin;
    out.parameters = [who, list = entry.parameters] { return call_plugin(who, "the list of its parameters", list); };
    out.make = [who, make = entry.make](const ConfigValue& description, const BuildContext& context) {
      return guard(who, call_plugin(
                            who, "its constructor", [&] { return make(description, context); }, description.where()));
    };
    return out;
  }

  std::map<std::string, Entry> entries_;
};

/// The entry of a class with Options and a constructor (Options, const BuildContext&).
template <class Interface, class Type>
typename Registry<Interface>::Entry registry_entry(const std::string& name, const StrategyInfo& info,
                                                   const Location& where) {
  typename Registry<Interface>::Entry entry;
  entry.info = info;
  entry.where = where;
  entry.parameters = [] { return Parameters::describe<typename Type::Options>(); };
  entry.make = [name](const ConfigValue& description, const BuildContext& context) -> std::unique_ptr<Interface> {
    typename Type::Options options;
    const std::string owner = std::string(Registry<Interface>::kind()) + " '" + name + "'";
    Parameters::read(description.is_scalar() ? ConfigValue::map({}, description.where()) : description, owner, options,
                     {"type"});
    return std::make_unique<Type>(std::move(options), context);
  };
  return entry;
}

/// For strategies without parameters.
struct NoOptions {
  void declare(Parameters&) {}  ///< none
};

}  // namespace foretell

/// Registers class `Type` as `name`; what follows are the fields of StrategyInfo in braces.
#define FORETELL_REGISTER(Interface, Type, name, ...)                                               \
  [[maybe_unused]] const bool registered_##Type = ::foretell::Registry<Interface>::instance().add(  \
      name, ::foretell::registry_entry<Interface, Type>(name, ::foretell::StrategyInfo __VA_ARGS__, \
                                                        ::foretell::Location{__FILE__, __LINE__}))
