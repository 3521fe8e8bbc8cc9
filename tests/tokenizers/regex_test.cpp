#include "framework/unicode/regex.h"

#include "framework/core/error.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  std::vector<std::string> found;
  for (const TextRange range : Regex(pattern, "test").find_all(text))
    found.emplace_back(text.substr(range.begin, range.end - range.begin));
  return found;
}

using Strings = std::vector<std::string>;

TEST_CASE("Patterns mean what they mean in Ruby's syntax") {
  CHECK(matches("^b", "a\nb") == Strings{"b"});
  CHECK(matches("\\h+", "xyFe9 ") == Strings{"Fe9"});
  CHECK(matches("\\s", "\xC2\xA0\xE1\xA0\x8E") == Strings{"\xC2\xA0"});  // U+180E is no white space
  CHECK(matches("\\w+", "e\xCC\x81_\xE2\x80\xBF") ==
        Strings{"e\xCC\x81_\xE2\x80\xBF"});  // marks and connectors are of words
  CHECK(matches("\\p{Han}", "\xE4\xB8\x80\xE3\x80\x81") == Strings{"\xE4\xB8\x80"});  // U+3001 is only used with Han
  CHECK(matches("\\p{Letter}\\p{^L}\\P{Lu}", "aA1 b1c") == Strings{"A1 ", "b1c"});
  CHECK(matches("(?m:a.)b", "a\nb") == Strings{"a\nb"});
  CHECK(matches("[\\p{L}&&[^b]]+", "abcab") == Strings{"a", "ca"});
  CHECK(matches("[^\\W\\d]+", "ab1-c") == Strings{"ab", "c"});
  CHECK(matches("[a[0-9]]+|[]x]", "a1x]") == Strings{"a1", "x", "]"});
  CHECK(matches("[^a&&[a-c]]", "abd") == Strings{"b", "d"});  // ^ negates the whole
}

TEST_CASE("Empty matches move on") {
  CHECK(matches("x*", "axb") == Strings{"", "x", ""});
  CHECK(matches("(?=a)", "aa").size() == 2);
}

TEST_CASE("A pattern that cannot be read is quoted") {
  CHECK_THROWS_WITH(Regex("(a", "f.json"), Catch::Contains("f.json: pattern \"(a\" cannot be compiled"));
  CHECK_THROWS_WITH(Regex("a\\", "f.json"), Catch::Contains("ends in a backslash"));
  CHECK_THROWS_AS(Regex("[" + std::string(100, '['), "f.json"), Error);
  CHECK_THROWS_AS(Regex(std::string(1 << 17, 'a'), "f.json"), Error);
}

}  // namespace
}  // namespace foretell
