#include "experiments/command.h"

#include <CLI/CLI.hpp>

#include <algorithm>

#include "framework/base/error.h"

namespace foretell {
namespace {

// The library's own checks print a range as two numbers with six digits each.
CLI::Validator at_least(double min) {
  return {[min](const std::string& text) {
            double value = 0;
            if (!CLI::detail::lexical_cast(text, value)) return fmt::format("'{}' is no number", text);
            return value >= min ? std::string() : fmt::format("{} is below {}", text, min);
          },
          ""};
}

CLI::Validator one_of(const std::vector<std::string>& choices) {
  return {[choices](const std::string& text) {
            const bool known = std::find(choices.begin(), choices.end(), text) != choices.end();
            return known ? std::string() : unknown_name_message("value", text, choices);
          },
          ""};
}

template <class T>
CLI::Option* declare(CLI::App& app, const std::string& name, T& field, const std::string& doc, const OptionStyle& style) {
  CLI::Option* option = app.add_option(name, field, doc);
  if (!style.type.empty()) option->type_name(style.type);
  if (style.required) option->required();
  if (style.show_default) option->capture_default_str();
  if (style.min) option->check(at_least(*style.min));
  if (!style.choices.empty()) option->check(one_of(style.choices));
  return option;
}

}  // namespace

Command Command::add_command(const std::string& name, const std::string& summary) {
  return {*app_->add_subcommand(name, summary), *action_};
}

void Command::require_command() { app_->require_subcommand(1); }

void Command::add(const std::string& name, std::string& field, const std::string& doc, const OptionStyle& style) {
  declare(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, std::optional<std::string>& field, const std::string& doc, const OptionStyle& style) {
  declare(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, std::vector<std::string>& field, const std::string& doc, const OptionStyle& style) {
  CLI::Option* option = declare(*app_, name, field, doc, style);
  if (!style.many && name.front() == '-') option->allow_extra_args(false);
}

void Command::add(const std::string& name, int& field, const std::string& doc, const OptionStyle& style) {
  declare(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, std::optional<int>& field, const std::string& doc, const OptionStyle& style) {
  declare(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, std::int64_t& field, const std::string& doc, const OptionStyle& style) {
  declare(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, std::uint64_t& field, const std::string& doc, const OptionStyle& style) {
  declare(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, double& field, const std::string& doc, const OptionStyle& style) {
  declare(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, std::optional<double>& field, const std::string& doc, const OptionStyle& style) {
  declare(*app_, name, field, doc, style);
}

void Command::add_flag(const std::string& name, bool& field, const std::string& doc) { app_->add_flag(name, field, doc); }

void Command::footer(std::function<std::string()> text) { app_->footer(std::move(text)); }

void Command::run(Action body) {
  app_->callback([body = std::move(body), action = action_] { *action = body; });
}

}  // namespace foretell
