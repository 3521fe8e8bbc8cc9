#define PCRE2_CODE_UNIT_WIDTH 8
#include "framework/unicode/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/unicode/unicode.h"

namespace foretell::unicode {

// The library's objects, freed by their owners.
namespace pcre {

template <auto free>
struct Free {
  template <class T>
  void operator()(T* p) const {
    free(p);
  }
};
using Code = std::unique_ptr<pcre2_code, Free<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Free<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Free<pcre2_match_context_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Free<pcre2_compile_context_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Free<pcre2_jit_stack_free>>;

}  // namespace pcre

namespace {

constexpr std::size_t kMaxPattern = 1 << 16;
constexpr std::uint32_t kMatchLimit =
    100'000'000;  // steps of one search; the common patterns need about one for each character
constexpr std::uint32_t kHeapLimit = 1 << 20;  // KiB that one search may take
constexpr std::size_t kJitStack = std::size_t{256} << 20;

std::string message_of(int code) {
  PCRE2_UCHAR buffer[200];
  const int length = pcre2_get_error_message(code, buffer, sizeof(buffer));
  return length > 0 ? std::string(reinterpret_cast<const char*>(buffer), static_cast<std::size_t>(length))
                    : fmt::format("error {}", code);
}

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct Regex::Compiled {
  pcre::Code code;
  std::string pattern;
  std::string where;
};

Regex::Regex(std::string_view pattern, const std::string& where) {
  if (pattern.size() > kMaxPattern)
    fail("{}: a pattern of {}; at most {} are taken", where, counted(pattern.size(), "byte"), kMaxPattern);
  const std::string translated = translate_pattern(pattern, where);
  const pcre::CompileContext context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // In Ruby's syntax ^ and $ always mean the ends of lines.
  constexpr std::uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  pcre::Code code(pcre2_compile(units(translated), translated.size(), options, &error, &offset, context.get()));
  if (!code) fail("{}: pattern \"{}\" cannot be compiled: {}", where, unicode::printable(pattern), message_of(error));
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // where there is no JIT the interpreter does the same
  compiled_ = std::make_shared<const Compiled>(Compiled{std::move(code), std::string(pattern), where});
}

std::vector<TextRange> Regex::find_all(std::string_view text) const {
  const pcre::MatchData data(pcre2_match_data_create(1, nullptr));
  const pcre::MatchContext context(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(context.get(), kMatchLimit);
  pcre2_set_heap_limit(context.get(), kHeapLimit);
  pcre::JitStack stack;
  std::vector<TextRange> found;
  for (std::size_t position = 0; position <= text.size();) {
    const int result = pcre2_match(compiled_->code.get(), units(text), text.size(), position, PCRE2_NO_UTF_CHECK,
                                   data.get(), context.get());
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result == PCRE2_ERROR_JIT_STACKLIMIT && !stack) {
      // Rare (a word of many kilobytes), so the big stack is made only now.
      stack.reset(pcre2_jit_stack_create(1 << 16, kJitStack, nullptr));
      pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
      continue;
    }
    if (result < 0)
      fail("{}: pattern \"{}\" gave up on a text: {}", compiled_->where, unicode::printable(compiled_->pattern),
           message_of(result));
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
    const TextRange match{ends[0], std::max(ends[0], ends[1])};  // \K in a lookahead may set the start behind the end
    if (match.begin == match.end && !found.empty() && found.back().end == match.end) {
      // An empty match right behind the last one would be found for ever.
      position += position < text.size() ? static_cast<std::size_t>(unicode::at(text, position).bytes) : 1;
      continue;
    }
    if (match.begin < (found.empty() ? 0 : found.back().end)) {  // a lookahead with \K again
      position += position < text.size() ? static_cast<std::size_t>(unicode::at(text, position).bytes) : 1;
      continue;
    }
    found.push_back(match);
    position = match.end;
  }
  return found;
}

}  // namespace foretell::unicode
