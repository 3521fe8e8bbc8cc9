#include "experiments/util/command.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <type_traits>

#include "framework/core/error.h"
#include "framework/core/printable.h"

namespace foretell::util {
namespace {

template <class T>
struct Bare {
  using Type = T;
};
template <class T>
struct Bare<std::optional<T>> {
  using Type = T;
};

// "from 1 to 64"
std::string range_of(const OptionStyle& style) { return fmt::format("from {} to {}", *style.min, *style.max); }

// Decimal and in range. The library's own conversion wraps what is negative, stops at the largest, and takes 010 for
// eight.
template <class Number>
Number number_in(const std::string& name, const std::string& text, const OptionStyle& style) {
  Number value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_number = end == text.data() + text.size() && !text.empty();
  using Limits = std::numeric_limits<Number>;
  if (style.min && style.max) {
    const bool fits = static_cast<double>(value) >= *style.min && static_cast<double>(value) <= *style.max;
    if (!is_number || code != std::errc{} || !fits)  // a NaN does not fit
      throw CLI::ValidationError(
          name, fmt::format("expected {} {}, found '{}'", std::is_floating_point_v<Number> ? "a number" : "an integer",
                            range_of(style), excerpt(text)));
  } else if constexpr (std::is_floating_point_v<Number>) {
    if (!is_number || code != std::errc{} || !std::isfinite(value))
      throw CLI::ValidationError(name, fmt::format("'{}' is no finite number", excerpt(text)));
  } else {
    if (!is_number || code != std::errc{})
      throw CLI::ValidationError(
          name, fmt::format("expected an integer from {} to {}, found '{}'",
                            style.min ? static_cast<Number>(*style.min) : Limits::min(), Limits::max(), excerpt(text)));
  }
  if (style.min && static_cast<double>(value) < *style.min)
    throw CLI::ValidationError(name, fmt::format("{} is below {}", text, *style.min));
  return value;
}

CLI::Validator one_of(const std::vector<std::string>& choices) {
  return {[choices](const std::string& text) {
            const bool known = std::find(choices.begin(), choices.end(), text) != choices.end();
            return known ? std::string() : unknown_name_message("value", text, choices);
          },
          ""};
}

CLI::Option* styled(CLI::Option* option, const OptionStyle& style) {
  if (!style.type.empty()) option->type_name(style.type);
  if (style.required) option->required();
  if (!style.choices.empty()) option->check(one_of(style.choices));
  return option;
}

template <class T>
CLI::Option* declare(CLI::App& app, const std::string& name, T& field, const std::string& doc,
                     const OptionStyle& style) {
  CLI::Option* option = styled(app.add_option(name, field, doc), style);
  if (style.show_default) option->capture_default_str();
  return option;
}

template <class T>
void declare_number(CLI::App& app, const std::string& name, T& field, const std::string& doc,
                    const OptionStyle& style) {
  const auto read = [&field, name, style](const CLI::results_t& texts) {
    field = number_in<typename Bare<T>::Type>(name, texts.back(), style);
    return true;
  };
  const std::string described = style.min && style.max ? fmt::format("{}; {}", doc, range_of(style)) : doc;
  CLI::Option* option = styled(app.add_option(name, read, described), style);
  if constexpr (std::is_arithmetic_v<T>)
    if (style.show_default) option->default_str(fmt::format("{}", field));
}

}  // namespace

Command Command::add_command(const std::string& name, const std::string& summary) {
  return {*app_->add_subcommand(name, summary), *action_};
}

void Command::require_command() { app_->require_subcommand(1); }

void Command::add(const std::string& name, std::string& field, const std::string& doc, const OptionStyle& style) {
  declare(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, std::optional<std::string>& field, const std::string& doc,
                  const OptionStyle& style) {
  declare(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, std::vector<std::string>& field, const std::string& doc,
                  const OptionStyle& style) {
  CLI::Option* option = declare(*app_, name, field, doc, style);
  if (!style.many && name.front() == '-') option->allow_extra_args(false);
}

void Command::add(const std::string& name, int& field, const std::string& doc, const OptionStyle& style) {
  declare_number(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, std::optional<int>& field, const std::string& doc,
                  const OptionStyle& style) {
  declare_number(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, std::int64_t& field, const std::string& doc, const OptionStyle& style) {
  declare_number(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, std::uint64_t& field, const std::string& doc, const OptionStyle& style) {
  declare_number(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, double& field, const std::string& doc, const OptionStyle& style) {
  declare_number(*app_, name, field, doc, style);
}

void Command::add(const std::string& name, std::optional<double>& field, const std::string& doc,
                  const OptionStyle& style) {
  declare_number(*app_, name, field, doc, style);
}

void Command::add_flag(const std::string& name, bool& field, const std::string& doc) {
  app_->add_flag(name, field, doc);
}

void Command::footer(std::function<std::string()> text) { app_->footer(std::move(text)); }

void Command::run(Action body) {
  app_->callback([body = std::move(body), action = action_] { *action = body; });
}

}  // namespace foretell::util
