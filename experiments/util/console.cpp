#include "experiments/util/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "framework/core/error.h"
#include "framework/core/printable.h"

namespace foretell::util {
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

bool begins_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

std::size_t columns_of(std::string_view line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), begins_character));
}

// How many bytes the first `columns` characters have.
std::size_t bytes_within(std::string_view line, std::size_t columns) {
  std::size_t bytes = 0;
  while (bytes < line.size() && (!begins_character(line[bytes]) || columns-- > 0)) ++bytes;
  return bytes;
}

std::size_t hanging_column(std::string_view line, std::size_t columns) {
  const std::size_t first = std::min(line.find_first_not_of(' '), line.size());
  const std::size_t gap = line.find("  ", first);
  const std::size_t second = gap == std::string_view::npos ? gap : line.find_first_not_of(' ', gap);
  return second != std::string_view::npos && second <= columns * 2 / 3 ? second : std::min(first, columns / 2);
}

}  // namespace

void print_out(std::string_view text) { write_out(printable_lines(text)); }

void print_exact(std::string_view text) { out_is_terminal() ? print_out(text) : write_out(text); }

void print_json(const nlohmann::ordered_json& value, int indent) {
  const auto written = [&](bool ascii) {
    return value.dump(indent, ' ', ascii, nlohmann::json::error_handler_t::replace) + "\n";
  };
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

void print_note(const std::string& text) {
  static std::set<std::string> told;
  if (told.insert(text).second) print_error("note: " + text + "\n");
}

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

int out_columns() {
  winsize size{};
  return out_is_terminal() && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

std::string wrapped_lines(std::string_view text, int columns) {
  if (columns <= 0) return std::string(text);
  std::string out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string hang(hanging_column(line, static_cast<std::size_t>(columns)), ' ');
    while (columns_of(line) > static_cast<std::size_t>(columns)) {
      const std::size_t at = line.rfind(' ', bytes_within(line, static_cast<std::size_t>(columns)));
      if (at == std::string::npos || line.find_first_not_of(' ') > at) break;
      out += line.substr(0, at) + "\n";
      line.replace(0, at + 1, hang);
    }
    out += line + "\n";
  }
  return out;
}

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

}  // namespace foretell::util
