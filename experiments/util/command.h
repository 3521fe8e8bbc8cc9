// One command of the program: what it takes, and what it does once it was chosen.
//
// Contract: nothing is loaded or printed while options are declared. Fields must outlive parsing; the action runs once,
// after parsing succeeded. A name with dashes is an option, one without is a positional argument. This is all that
// commands see of the command line library: its header costs ten seconds to compile in every file that uses it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace foretell::util {

using Action = std::function<void()>;

struct OptionStyle {
  std::string type = {};  // what stands for the value in --help: "FILE", "N"
  bool required = false;
  bool show_default = false;
  std::optional<double> min = {}, max = {};  // inclusive; --help names both where both are given
  std::vector<std::string> choices = {};
  bool many = false;  // a list takes all values that follow, not one for each time the option is given
};

class Command {
 public:
  Command(CLI::App& app, Action& action) : app_(&app), action_(&action) {}

  Command add_command(const std::string& name, const std::string& summary);
  void require_command();  // one of the commands below this one must be given

  void add(const std::string& name, std::string& field, const std::string& doc, const OptionStyle& style = {});
  void add(const std::string& name, std::optional<std::string>& field, const std::string& doc,
           const OptionStyle& style = {});
  void add(const std::string& name, std::vector<std::string>& field, const std::string& doc,
           const OptionStyle& style = {});
  void add(const std::string& name, int& field, const std::string& doc, const OptionStyle& style = {});
  void add(const std::string& name, std::optional<int>& field, const std::string& doc, const OptionStyle& style = {});
  void add(const std::string& name, std::int64_t& field, const std::string& doc, const OptionStyle& style = {});
  void add(const std::string& name, std::uint64_t& field, const std::string& doc, const OptionStyle& style = {});
  void add(const std::string& name, double& field, const std::string& doc, const OptionStyle& style = {});
  void add(const std::string& name, std::optional<double>& field, const std::string& doc,
           const OptionStyle& style = {});
  void add_flag(const std::string& name, bool& field, const std::string& doc);

  void footer(std::function<std::string()> text);  // what --help ends with
  void run(Action body);                           // what to do once this command was chosen

 private:
  CLI::App* app_;
  Action* action_;
};

}  // namespace foretell::util
