#include "experiments/console.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "framework/base/error.h"

namespace foretell {
namespace {

bool reader_is_gone = false;

void check_out(bool written) {
  if (written) return;
  if (errno != EPIPE) fail("standard output cannot be written: {}", std::strerror(errno));
  reader_is_gone = true;
}

}  // namespace

void print_out(std::string_view text) {
  if (reader_is_gone) return;
  errno = 0;
  check_out(std::fwrite(text.data(), 1, text.size(), stdout) == text.size());
}

void flush_out() {
  if (reader_is_gone) return;
  errno = 0;
  check_out(std::fflush(stdout) == 0 && std::ferror(stdout) == 0);
}

void print_error(std::string_view text) {
  std::fflush(stdout);  // so that both streams keep their order on a terminal
  std::fwrite(text.data(), 1, text.size(), stderr);
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

std::string visible(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '\n': out += "\\n"; break;
      case '\t': out += "\\t"; break;
      case '\r': out += "\\r"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
          out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        else
          out += c;
    }
  }
  return out;
}

std::string painted(Colour colour, std::string_view text) {
  static const bool colours = out_is_terminal() && std::getenv("NO_COLOR") == nullptr;
  if (!colours || colour == Colour::Plain) return std::string(text);
  static const char* codes[] = {"0", "32", "31", "34", "33", "2"};
  return fmt::format("\033[{}m{}\033[0m", codes[static_cast<int>(colour)], text);
}

}  // namespace foretell
