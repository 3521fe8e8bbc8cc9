// Replays the seeds of the fuzzers, so that every build runs them at least once.
#include "framework/core/error.h"
#include "framework/datasets/datastore.h"
#include "framework/formats/bitllama.h"
#include "framework/formats/int4_weights.h"
#include "framework/formats/llama2c.h"
#include "framework/formats/model_config.h"
#include "framework/formats/safetensors.h"
#include "tests/fuzz/head_targets.h"
#include "tests/support/catch.h"
#include "tests/support/seeds.h"

namespace foretell {
namespace {

// Calls `read` with each seed of the target; returns how many were accepted and how many refused.
template <class Read>
std::pair<int, int> replay(const std::string& target, const Read& read) {
  std::pair<int, int> counts;
  testing::for_each_seed(target, [&](const std::string& bytes) {
    try {
      read(bytes);
      ++counts.first;
    } catch (const Error& error) {
      INFO(error.what());
      CHECK(std::string(error.what()).find('\n') == std::string::npos);
      ++counts.second;
    }
  });
  return counts;
}

std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST_CASE("the fuzzers' seeds are read or refused as they should be") {
  CHECK(replay("safetensors_fuzz", [](const std::string& bytes) { SafetensorsFile::parse(as_bytes(bytes), "seed"); }) ==
        std::pair(3, 6));
  CHECK(replay("safetensors_fuzz", [](const std::string& bytes) { parse_shard_index(bytes, "seed"); }) ==
        std::pair(1, 8));
  const formats::Int4Storage gptq{formats::Int4Storage::Layout::Gptq, 8}, awq{formats::Int4Storage::Layout::Awq, 8};
  for (const auto& [storage, read_and_refused] : {std::pair(gptq, std::pair(2, 3)), {awq, std::pair(1, 4)}}) {
    CHECK(replay("int4_weights_fuzz", [&](const std::string& bytes) {
            const auto file = SafetensorsFile::parse(as_bytes(bytes), "seed");
            formats::read_int4(formats::find_int4(file.tensors(), "m", 8, 16, storage, "seed"), storage, "m", "seed");
          }) == read_and_refused);
  }
  CHECK(replay("model_config_fuzz", [](const std::string& bytes) { parse_model_config(bytes, "seed"); }) ==
        std::pair(14, 5));
  CHECK(replay("eagle3_config_fuzz", [](const std::string& bytes) { fuzz::read_eagle3_config(bytes, "seed"); }) ==
        std::pair(3, 3));
  CHECK(replay("mlp_speculator_config_fuzz",
               [](const std::string& bytes) { fuzz::read_mlp_speculator_config(bytes, "seed"); }) == std::pair(1, 2));
  CHECK(replay("draft_vocabulary_fuzz", [](const std::string& bytes) {
          fuzz::read_draft_vocabulary(as_bytes(bytes), "seed");
        }) == std::pair(2, 4));
  CHECK(replay("llama2c_fuzz", [](const std::string& bytes) { parse_llama2c(as_bytes(bytes), "seed"); }) ==
        std::pair(4, 3));
  CHECK(replay("bitllama_fuzz", [](const std::string& bytes) { parse_bitllama(as_bytes(bytes), "seed"); }) ==
        std::pair(2, 5));
  CHECK(replay("datastore_fuzz", [](const std::string& bytes) { Datastore::parse(as_bytes(bytes), "seed"); }) ==
        std::pair(4, 9));
}

}  // namespace
}  // namespace foretell
