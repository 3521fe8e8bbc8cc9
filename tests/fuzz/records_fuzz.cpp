// libFuzzer target: generations.jsonl and rounds.jsonl of any bytes, a zero byte between the two. What is accepted is consistent, and reads the same when
// it has been written again.
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string_view>

#include <nlohmann/json.hpp>

#include "experiments/record_json.h"
#include "experiments/record_reader.h"
#include "framework/base/error.h"

namespace foretell {
namespace {

RecordsRead read(std::string_view generations, std::string_view rounds) {
  std::istringstream first{std::string(generations)}, second{std::string(rounds)};
  return read_records(first, second, "fuzz");
}

void check(const RecordsRead& records) {
  for (const std::string& damage : records.damage) FORETELL_CHECK(!damage.empty(), "damage without words");
  std::string generations, rounds;
  for (const GenerationRecord& record : records.records) {
    const std::string lines = round_lines(record);
    generations += sealed_line(generation_json(record), record.rounds.size(), lines);
    rounds += lines;
  }
  const RecordsRead again = read(generations, rounds);
  // Imported rows do not know their tokens, which the written ones then say are none.
  std::size_t known = 0;
  for (const GenerationRecord& record : records.records) {
    std::size_t emitted = 0;
    for (const RoundRecord& round : record.rounds) emitted += static_cast<std::size_t>(round.emitted);
    known += emitted == record.tokens.size();
  }
  FORETELL_CHECK(again.records.size() == known, "{} of {} records are read again", again.records.size(), known);
}

}  // namespace
}  // namespace foretell

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t cut = std::min(bytes.find('\0'), bytes.size());
  foretell::check(foretell::read(bytes.substr(0, cut), bytes.substr(std::min(cut + 1, bytes.size()))));
  return 0;
}
