#include "experiments/console.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/base/printable.h"

namespace foretell {
namespace {

bool reader_is_gone = false;

void check_out(bool written) {
  if (written) return;
  if (errno != EPIPE) fail("standard output cannot be written: {}", std::strerror(errno));
  reader_is_gone = true;
}

void write_out(std::string_view text) {
  if (reader_is_gone) return;
  errno = 0;
  check_out(std::fwrite(text.data(), 1, text.size(), stdout) == text.size());
}

}  // namespace

void print_out(std::string_view text) { write_out(printable_lines(text)); }

void print_exact(std::string_view text) { out_is_terminal() ? print_out(text) : write_out(text); }

void print_json(const nlohmann::ordered_json& value, int indent) {
  const auto written = [&](bool ascii) { return value.dump(indent, ' ', ascii, nlohmann::json::error_handler_t::replace) + "\n"; };
  const std::string text = written(false);
  write_out(out_is_terminal() && printable_lines(text) != text ? written(true) : text);
}

void print_styled(std::string_view text) { write_out(text); }

void flush_out() {
  if (reader_is_gone) return;
  errno = 0;
  check_out(std::fflush(stdout) == 0 && std::ferror(stdout) == 0);
}

void print_error(std::string_view text) { print_error_styled(printable_lines(text)); }

void print_error_styled(std::string_view sequence) {
  std::fflush(stdout);  // so that both streams keep their order on a terminal
  std::fwrite(sequence.data(), 1, sequence.size(), stderr);
}

void print_error_line(std::string_view text, bool open) {
  const bool live = error_is_terminal();
  print_error_styled((live ? "\r\033[K" : "") + printable(text) + (live && open ? "" : "\n"));
}

bool out_is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }
bool error_is_terminal() { return ::isatty(STDERR_FILENO) == 1; }

std::string one_line(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\n' && text[i] != '\r') {
      out += text[i];
      continue;
    }
    while (i + 1 < text.size() && (text[i + 1] == ' ' || text[i + 1] == '\n' || text[i + 1] == '\r')) ++i;
    if (!out.empty() && out.back() != ' ') out += ' ';
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::string painted(Colour colour, std::string_view text) {
  static const bool colours = out_is_terminal() && std::getenv("NO_COLOR") == nullptr;
  if (!colours || colour == Colour::Plain) return std::string(text);
  static const char* codes[] = {"0", "32", "31", "34", "33", "2"};
  return fmt::format("\033[{}m{}\033[0m", codes[static_cast<int>(colour)], text);
}

}  // namespace foretell
