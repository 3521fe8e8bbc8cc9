// The file readers on good files and on hostile ones: each refusal is one line that says what is wrong.
#include <sys/resource.h>
#include <sys/stat.h>
#include <nlohmann/json.hpp>

#include <csignal>
#include <cstring>

#include "framework/core/error.h"
#include "framework/formats/safetensors.h"
#include "framework/io/atomic_file.h"
#include "framework/io/json.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using Catch::Matchers::Contains;
using testing::TemporaryFolder;

std::string with_header(const std::string& header, const std::string& data = "") {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

SafetensorsFile parse_tensors(const std::string& text) {
  return SafetensorsFile::parse(std::as_bytes(std::span(text.data(), text.size())), "x.safetensors");
}

// The single line of the Error that `text` leads to.
std::string refusal(const std::string& text) {
  try {
    parse_tensors(text);
  } catch (const Error& error) {
    const std::string message = error.what();
    CHECK(message.find('\n') == std::string::npos);
    CHECK_THAT(message, Contains("x.safetensors"));
    return message;
  }
  FAIL("not refused");
  return "";
}

std::string entry(const std::string& shape, const std::string& offsets, const std::string& type = "F32") {
  return R"({"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

TEST_CASE("what is written as safetensors is read back") {
  const TemporaryFolder folder;
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> ids = {7};
  const auto path = folder.path() / "a.safetensors";
  const StoredTensors tensors = {{"a \"quoted\" name", {StoredType::F32, {2, 3}, std::as_bytes(std::span(values))}},
                                 {"empty", {StoredType::BF16, {0, 5}, {}}},
                                 {"scalar", {StoredType::I64, {}, std::as_bytes(std::span(ids))}}};
  write_safetensors(path, tensors);
  const SafetensorsFile file = SafetensorsFile::open(path);
  REQUIRE(file.tensors().size() == 3);
  const StoredTensor& read = file.at("a \"quoted\" name");
  CHECK(read.shape == std::vector<std::int64_t>{2, 3});
  CHECK(std::memcmp(read.bytes.data(), values.data(), 24) == 0);
  CHECK(file.at("scalar").shape.empty());
  CHECK(file.at("empty").bytes.empty());
  CHECK_THROWS_WITH(file.at("none"), Contains("no tensor 'none'") && Contains("scalar"));
  CHECK(parse_tensors(with_header(R"({"__metadata__":{"a":"b"},"t":)" + entry("[1]", "[0,4]") + "}   ", "abcd"))
            .at("t")
            .bytes.size() == 4);
  CHECK(parse_tensors(with_header("{}")).tensors().empty());
}

TEST_CASE("a truncated safetensors file says how much is missing") {
  CHECK_THAT(refusal("abc"), Contains("truncated: 3 bytes"));
  CHECK_THAT(refusal(with_header("{}").substr(0, 9)), Contains("header ends at byte 10, the file has 9"));
  const std::string whole = with_header(R"({"t":)" + entry("[4]", "[0,16]") + "}", std::string(16, 'x'));
  CHECK_THAT(refusal(whole.substr(0, whole.size() - 5)), Contains("truncated") &&
                                                             Contains(std::to_string(whole.size())) &&
                                                             Contains(std::to_string(whole.size() - 5)));
  CHECK_THAT(refusal(whole + "y"), Contains("bytes of no tensor at its end"));
}

TEST_CASE("a safetensors header that lies is refused") {
  std::string huge(8, '\xff');
  CHECK_THAT(refusal(huge + "{}"), Contains("not a safetensors file"));
  CHECK_THAT(refusal(with_header("")), Contains("not valid JSON"));
  CHECK_THAT(refusal(with_header("[]")), Contains("must be a JSON object"));
  CHECK_THAT(refusal(with_header("{\"t\":1}")),
             Contains("an object is expected") || Contains("JSON object is expected"));
  const auto tensor = [](const std::string& value, std::size_t bytes) {
    return with_header("{\"t\":" + value + "}", std::string(bytes, 'x'));
  };
  CHECK_THAT(refusal(tensor(entry("[4]", "[0,12]"), 12)),
             Contains("do not fit shape [4] of F32, which takes 16 bytes"));
  CHECK_THAT(refusal(tensor(entry("[4]", "[16,0]"), 16)), Contains("do not fit"));
  CHECK_THAT(refusal(tensor(entry("[1]", "[4,8]"), 8)), Contains("there is a gap"));
  CHECK_THAT(refusal(tensor(entry("[1]", "[0,4]", "F4"), 4)), Contains("unknown dtype 'F4'") && Contains("BF16"));
  CHECK_THAT(refusal(tensor(entry("[-1]", "[0,4]"), 4)), Contains("a count is expected"));
  CHECK_THAT(refusal(tensor(entry("[1.5]", "[0,4]"), 4)), Contains("a count is expected"));
  CHECK_THAT(refusal(tensor(entry("4", "[0,4]"), 4)), Contains("'shape' must be a list"));
  CHECK_THAT(refusal(tensor(entry("[1]", "[0]"), 4)), Contains("'data_offsets' must be"));
  CHECK_THAT(refusal(tensor(entry("[1]", "[0,18446744073709551615]"), 4)), Contains("a count is expected"));
  CHECK_THAT(refusal(tensor(entry("[4294967296,4294967296,4294967296]", "[0,0]"), 0)), Contains("too large"));
  CHECK_THAT(refusal(tensor(entry("[9223372036854775807,2]", "[0,4]"), 4)), Contains("too large"));
  CHECK_THAT(refusal(tensor(R"({"shape":[1],"data_offsets":[0,4]})", 4)), Contains("'dtype' is missing"));
  CHECK_THAT(refusal(with_header("{\"a\":" + entry("[2]", "[0,8]") + ",\"b\":" + entry("[2]", "[4,12]") + "}",
                                 std::string(12, 'x'))),
             Contains("they overlap"));
  CHECK_THAT(refusal(with_header("{\"a\":" + entry("[1]", "[0,4]") + ",\"a\":" + entry("[1]", "[0,4]") + "}", "xxxx")),
             Contains("given twice"));
  CHECK_THAT(refusal(with_header("{\"a\":" + std::string(100000, '[') + "}")), Contains("nested deeper"));
  CHECK_THAT(refusal(with_header("{\"\xff\xfe\":1}")), Contains("not valid JSON"));
}

TEST_CASE("a pipe or a device does not make way for a file") {
  const testing::TemporaryFolder folder;
  const std::filesystem::path pipe = folder.path() / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_THROWS_WITH(write_file(pipe, std::string_view("text")), Contains("expected a file or nothing"));
  CHECK(std::filesystem::is_fifo(pipe));
  CHECK_THROWS_WITH(write_file(folder.path(), std::string_view("text")), Contains("expected a file or nothing"));
}

TEST_CASE("files that are none are refused") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(SafetensorsFile::open(folder.path() / "none"), Contains("cannot be opened"));
  CHECK_THROWS_WITH(SafetensorsFile::open(folder.path()), Contains("is a folder"));
  CHECK_THROWS_WITH(SafetensorsFile::open(folder.write("empty", "")), Contains("is empty"));
  CHECK_THROWS_WITH(SafetensorsFile::open("/dev/null"), Contains("not a regular file"));
  CHECK_THROWS_WITH(Checkpoint::open(folder.path() / "none"), Contains("no such folder"));
  CHECK_THROWS_WITH(Checkpoint::open(folder.path()),
                    Contains("neither model.safetensors nor model.safetensors.index.json"));
  folder.write("pytorch_model.bin", "x");
  CHECK_THROWS_WITH(Checkpoint::open(folder.path()), Contains("convert it to safetensors"));
}

TEST_CASE("shards are one checkpoint, and an index cannot lead out of the folder") {
  const TemporaryFolder folder;
  folder.write("one.safetensors", with_header("{\"a\":" + entry("[1]", "[0,4]") + "}", "aaaa"));
  folder.write("two.safetensors", with_header("{\"b\":" + entry("[1]", "[0,4]") + "}", "bbbb"));
  const auto index = [&](const std::string& map) {
    folder.write("model.safetensors.index.json", R"({"weight_map":)" + map + "}");
  };
  index(R"({"a": "one.safetensors", "b": "two.safetensors"})");
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  CHECK(checkpoint.tensors().size() == 2);
  CHECK(static_cast<char>(checkpoint.tensors().at("b").bytes[0]) == 'b');
  CHECK_THAT(checkpoint.file_of("b"), Contains("two.safetensors"));

  index(R"({"a": "two.safetensors"})");
  CHECK_THROWS_WITH(Checkpoint::open(folder.path()), Contains("which does not hold it"));
  index(R"({"a": "three.safetensors"})");
  CHECK_THROWS_WITH(Checkpoint::open(folder.path()), Contains("names 1 file, missing: three.safetensors;"));
  for (const char* name : {"\"../one.safetensors\"", "\"/etc/passwd\"", "\"\"", "\"..\"", "\"a/b\"", "7"}) {
    index(std::string("{\"a\": ") + name + "}");
    CHECK_THROWS_WITH(Checkpoint::open(folder.path()), Contains("the plain name of a file"));
  }
  index("{}");
  CHECK_THROWS_WITH(Checkpoint::open(folder.path()), Contains("'weight_map'"));
}

TEST_CASE("a file that cannot be written leaves nothing behind and the old one as it was") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(write_safetensors(folder.path() / "no/such/folder.safetensors", StoredTensors{}),
                    Contains("cannot be created"));
  CHECK_THROWS_WITH(make_folder(folder.write("plain", "x") / "below"), Contains("plain/below"));

  const auto path = folder.write("kept", "old");
  {
    AtomicFile file(path);
    file.write("new, but never committed");
  }
  CHECK(testing::read_file(path) == "old");
  // A limit on the size of files stands for a full disk.
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1000, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string message;
  try {
    AtomicFile file(path);
    file.write(std::string(5000, 'x'));
    file.commit();
  } catch (const Error& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK_THAT(message, Contains("kept: cannot be written"));
  CHECK(testing::read_file(path) == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
}

TEST_CASE("JSON is bounded in size and depth, and keys are read with their types") {
  CHECK_THROWS_WITH(parse_json(std::string(100, ' '), "x.json", {.bytes = 10}),
                    Contains("100 bytes of JSON, at most 10"));
  CHECK_THROWS_WITH(parse_json("[[[1]]]", "x.json", {.depth = 2}), Contains("nested deeper than 2"));
  CHECK_THROWS_WITH(parse_json("{\"a\": 1e999}", "x.json"), Contains("x.json: not valid JSON"));
  CHECK_THROWS_WITH(parse_json("{\"a\": {\"b\": 1, \"b\": 2}}", "x.json", {.unique_keys = true}),
                    Contains("'b' is given twice"));
  CHECK(parse_json("{\"a\": 1, \"a\": 2}", "x.json")["a"] == 2);
  const auto document =
      parse_json(R"({"i": 5, "big": 18446744073709551615, "s": "t", "n": null, "d": 0.5, "o": {"x": true}})", "x.json");
  const JsonObject json(document, "x.json");
  CHECK(json.integer("i", 0, 9) == 5);
  CHECK(json.integer("n", 0, 9) == std::nullopt);
  CHECK(json.integer("absent", 0, 9) == std::nullopt);
  CHECK_THROWS_WITH(json.integer("big", 0, 9), Contains("x.json: 'big' is 18446744073709551615"));
  CHECK_THROWS_WITH(json.integer("i", 0, 4), Contains("from 0 to 4"));
  CHECK_THROWS_WITH(json.integer("s", 0, 4), Contains("an integer"));
  CHECK_THROWS_WITH(json.number("s", 0, 4), Contains("a number"));
  CHECK_THROWS_WITH(json.boolean("i"), Contains("true or false"));
  CHECK_THROWS_WITH(json.string("i"), Contains("a string"));
  CHECK_THROWS_WITH(json.object("i"), Contains("an object"));
  CHECK_THROWS_WITH(json.object("o")->string("x"), Contains("'o.x'"));
}

}  // namespace
}  // namespace foretell
