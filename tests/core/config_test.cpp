#include <string>

#include "framework/core/config_value.h"
#include "framework/core/parameters.h"
#include "tests/support/catch.h"

namespace foretell {
namespace {

using Catch::Contains;

struct Example {
  int count = 3;
  double rate = 0.5;
  bool on = false;
  std::string mode = "fast";
  std::optional<int> limit;
  std::vector<int> widths{1, 2};
  void declare(Parameters& p) {
    p.add("count", count, "how many", {.min = 1, .max = 9, .aliases = {"n"}});
    p.add("rate", rate, "share", {.min = 0, .max = 1});
    p.add("on", on, "switch");
    p.add("mode", mode, "how", {.choices = {"fast", "slow"}});
    p.add("limit", limit, "at most");
    p.add("widths", widths, "by depth", {.min = 1});
  }
};

Example read(const std::string& yaml) {
  Example out;
  Parameters::read(parse_yaml(yaml, "s.yaml"), "drafter 'x'", out, {"type"});
  return out;
}

TEST_CASE("a variable between braces without quotes is an error that says so") {
  const auto parse = [](const char* text) { return parse_yaml(text, "s.yaml"); };
  CHECK_THROWS_WITH(parse("a: 1\nb: {file: ${HOME}/x, c: 2}\n"), Contains("s.yaml:2") && Contains("in quotes"));
  CHECK_THROWS_WITH(parse("a: 1\nb: {file: x\n"), !Contains("in quotes"));
  CHECK(parse("b: {file: \"${HOME}/x\"}").is_map());
}

TEST_CASE("parameters are read from YAML, by name or alias") {
  const Example e = read("{type: x, n: 7, rate: 0.25, on: true, mode: slow, limit: 4, widths: [3]}");
  CHECK(e.count == 7);
  CHECK(e.rate == 0.25);
  CHECK(e.on);
  CHECK(e.mode == "slow");
  CHECK(e.limit == 4);
  CHECK(e.widths == std::vector<int>{3});
  CHECK_FALSE(read("{limit: ~}").limit);
}

TEST_CASE("mistakes name file, line, what was found and what is allowed") {
  CHECK_THROWS_WITH(read("type: x\ncuont: 4"),
                    "s.yaml:2: unknown key of drafter 'x' 'cuont' (did you mean 'count'?); known: type, count, n, "
                    "rate, on, mode, limit, widths");
  CHECK_THROWS_WITH(read("count: 12"), Contains("s.yaml:1") && Contains("from 1 to 9") && Contains("12"));
  CHECK_THROWS_WITH(read("count: many"), Contains("expected an integer, found 'many'"));
  CHECK_THROWS_WITH(read("count: \"4\""), Contains("expected an integer"));
  CHECK_THROWS_WITH(read("rate: .nan"), Contains("expected"));
  CHECK_THROWS_WITH(read("mode: sloww"), Contains("did you mean 'slow'"));
  CHECK_THROWS_WITH(read("{count: 1, n: 2}"), Contains("the same key"));
  CHECK_THROWS_WITH(read("widths: 3"), Contains("list of int"));
  CHECK_THROWS_WITH(read("[1, 2]"), Contains("expected a mapping"));
}

TEST_CASE("documentation comes from the same declaration") {
  const auto docs = Parameters::describe<Example>();
  REQUIRE(docs.size() == 6);
  CHECK(docs[0].name == "count");
  CHECK(docs[0].default_value == "3");
  CHECK(docs[3].type == "fast | slow");
  CHECK(docs[4].default_value == "none");
  CHECK(docs[5].default_value == "[1, 2]");
}

TEST_CASE("overrides reach nested values and say where they came from") {
  ConfigValue doc = parse_yaml("a: {b: 1}\nc: 2\n", "s.yaml");
  apply_override(doc, "a.b=[1, 2]");
  apply_override(doc, "d.e.f=x");
  CHECK(doc.find_path("a.b")->items().size() == 2);
  CHECK(doc.find_path("d.e.f")->text() == "x");
  CHECK(doc.find_path("d.e.f")->where().to_string() == "--set d.e.f");
  CHECK_THROWS_WITH(apply_override(doc, "c.x=1"), Contains("not a mapping"));
  CHECK_THROWS_WITH(apply_override(doc, "novalue"), Contains("a.b.c=value"));
  CHECK(same_value(parse_yaml(doc.to_yaml(), "x"), doc));
  CHECK(same_value(parse_yaml(doc.to_flow(), "x"), doc));
  CHECK(doc.to_flow().find('\n') == std::string::npos);
}

TEST_CASE("a mistake of a whole value names what the command line has put into it") {
  ConfigValue doc = parse_yaml("a:\n  b: {c: 1, d: [2]}\n  e: 3\n", "study.yaml");
  CHECK(doc.find_path("a.b")->blamed().to_string() == "study.yaml:2");
  apply_override(doc, "a.b.c=4");
  CHECK(doc.find_path("a.b")->blamed().to_string() == "--set a.b.c (in study.yaml:2)");
  CHECK(doc.find_path("a.b")->blamed().is_exact());
  CHECK(doc.find_path("a.b.c")->blamed().to_string() == "--set a.b.c");
  CHECK(doc.find_path("a.e")->blamed().to_string() == "study.yaml:3");
  apply_override(doc, "a.b.d.0=5");
  CHECK(doc.find_path("a.b")->blamed().to_string() == "--set a.b.c, --set a.b.d.0 (in study.yaml:2)");
  apply_override(doc, "a.b={x: {y: 1}}");
  CHECK(doc.find_path("a.b")->blamed().to_string() == "--set a.b");
}

TEST_CASE("a path goes into lists by the number of an item") {
  ConfigValue doc = parse_yaml("a:\n  - {b: 1}\n  - {b: 2, c: [x, y]}\n", "s.yaml");
  CHECK(doc.find_path("a.1.b")->text() == "2");
  CHECK(doc.find_path("a.1.c.0")->text() == "x");
  CHECK(doc.place_of("a.1.b").to_string() == "s.yaml:3");
  for (const char* path : {"a.2.b", "a.-1", "a.01", "a.b", "a.1.c.9999999999999999999999"})
    CHECK(doc.find_path(path) == nullptr);
  doc.set_path("a.1.b", ConfigValue::scalar("3"));
  doc.set_path("a.0.d.e", ConfigValue::scalar("new"));
  doc.set_path("a.1.c.1", ConfigValue::scalar("z"));
  CHECK(same_value(doc, parse_yaml("a: [{b: 1, d: {e: new}}, {b: 3, c: [x, z]}]", "x")));
  CHECK_THROWS_WITH(apply_override(doc, "a.2.b=1"),
                    Contains("--set a.2.b") && Contains("s.yaml:2") && Contains("it has 2, the first is 0"));
  CHECK_THROWS_WITH(apply_override(doc, "a.first.b=1"), Contains("'first' is no item"));
}

TEST_CASE("flow text of long values stays on one line and parses back") {
  std::string yaml = "text: \"with: colon, [bracket] and\\nline\"\nlist: [";
  for (int i = 0; i < 200; ++i) yaml += std::to_string(i) + ", ";
  const ConfigValue doc = parse_yaml(yaml + "200]", "x");
  CHECK(doc.to_flow().find('\n') == std::string::npos);
  CHECK(same_value(parse_yaml(doc.to_flow(), "y"), doc));
}

TEST_CASE("escapes of YAML are read as UTF-8 and written back as they were") {
  const ConfigValue value = parse_yaml(R"({"\_k": "a\N\_\x85\u00a0\L\e\0b"})", "s.yaml");
  REQUIRE(value.find("\xc2\xa0k") != nullptr);
  CHECK(value.find("\xc2\xa0k")->text() == std::string("a\xc2\x85\xc2\xa0\xc2\x85\xc2\xa0\xe2\x80\xa8\x1b\0b", 15));
  CHECK(same_value(parse_yaml(value.to_flow(), "written"), value));
  CHECK(same_value(parse_yaml(value.to_yaml(), "written"), value));
}

TEST_CASE("hostile YAML is an error") {
  CHECK_THROWS_WITH(parse_yaml("a: 1\na: 2", "f"), Contains("given before"));
  CHECK_THROWS_WITH(parse_yaml("a: [1", "f"), Contains("f:") && Contains("not valid YAML"));
  CHECK_THROWS_WITH(parse_yaml("a: 1\nb: \xbf", "f"), Contains("f:2: not valid YAML: the byte 0xbf is not UTF-8"));
  CHECK_THROWS_WITH(parse_yaml("a: 1\fb", "f"), Contains("f:1: not valid YAML: the character U+000C"));
  CHECK(parse_yaml("a: \"x\\fy\"", "f").find("a")->text() == "x\fy");
  CHECK_THROWS_AS(parse_yaml(std::string(5000, '['), "f"), Error);
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 40; ++i) bomb += fmt::format("a{0}: &a{0} [*a{1}, *a{1}]\n", i, i - 1);
  CHECK_THROWS_WITH(parse_yaml(bomb, "f"), Contains("more than"));
  CHECK_THROWS_WITH(parse_yaml("? [a]\n: 1", "f"), Contains("plain word"));
  CHECK_THROWS_WITH(load_yaml("/nonexistent/x.yaml"), Contains("cannot be opened"));
  CHECK_THROWS_WITH(load_yaml("/tmp"), Contains("folder"));
}

}  // namespace
}  // namespace foretell
