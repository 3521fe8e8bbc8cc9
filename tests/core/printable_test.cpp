#include "framework/core/printable.h"

#include "tests/support/catch.h"

using namespace foretell;

TEST_CASE("printable text passes as it is") {
  for (const std::string text : {"", "a plain name", "größe 日本語 ไทย", "\\back\\slash", "naïve e\xcc\x81"})
    CHECK(printable(text) == text);
  // A family is three people and joiners; Persian is spelt with non-joiners.
  const std::string family = "\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7",
                    persian = "\xd9\x85\xdb\x8c\xe2\x80\x8c\xd8\xae";
  CHECK(printable(family) == family);
  CHECK(printable(persian) == persian);
}

TEST_CASE("what a terminal obeys is written as an escape") {
  CHECK(printable("\x1b[31mred") == "\\x1b[31mred");
  CHECK(printable("\x1b]0;title\x07") == "\\x1b]0;title\\x07");
  CHECK(printable(std::string("a\0b\x7f", 4)) == "a\\x00b\\x7f");
  CHECK(printable("a\n\tb\rc") == "a\\n\\tb\\rc");
  CHECK(printable("\xc2\x9b"
                  "31m") == "\\u{9b}31m");    // C1: CSI as one character
  CHECK(printable("\xc2\x85") == "\\u{85}");  // C1: next line
  CHECK(printable("gnp\xe2\x80\xae"
                  "exe.\xe2\x80\xac") == "gnp\\u{202e}exe.\\u{202c}");
  CHECK(printable("\xe2\x81\xa6\xe2\x81\xa9\xe2\x80\x8f\xd8\x9c") == "\\u{2066}\\u{2069}\\u{200f}\\u{61c}");
  CHECK(printable("a\xe2\x80\xa8"
                  "b\xe2\x80\xa9") == "a\\u{2028}b\\u{2029}");
  CHECK(printable("\xef\xbb\xbf\xe2\x80\x8bx\xf3\xa0\x81\x81") == "\\u{feff}\\u{200b}x\\u{e0041}");
}

TEST_CASE("bytes that are no UTF-8 are written one by one") {
  CHECK(printable("\xff\x9b"
                  "31m") == "\\xff\\x9b31m");
  CHECK(printable("a\xe2\x80") == "a\\xe2\\x80");
  CHECK(printable("\xc0\x9b") == "\\xc0\\x9b");           // an overlong ESC
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");  // a surrogate
}

TEST_CASE("lines stay lines") { CHECK(printable_lines("a\tb\n\x1b[2Jc\r\n") == "a\tb\n\\x1b[2Jc\\r\n"); }

TEST_CASE("an excerpt ends with a whole character and says that it is one") {
  CHECK(excerpt("short") == "short");
  CHECK(excerpt("12345678", 4) == "1234...");
  CHECK(excerpt("123\xe2\x82\xac"
                "5",
                4) == "123...");
  CHECK(excerpt("123\xe2\x82\xac"
                "5",
                6) == "123\xe2\x82\xac...");
  CHECK(excerpt(std::string(100, '\x80'), 10).size() <= 13);
}
