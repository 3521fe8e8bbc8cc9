#include "framework/io/content_hash.h"

#include "framework/core/error.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {

TEST_CASE("two flipped signs are another file, which the hash of before did not see") {
  const testing::TemporaryFolder folder;
  std::string weights(4096, '\x11');
  const auto before = folder.write("a.safetensors", weights);
  weights[7] = weights[1007] = '\x91';  // the top bits of two words of 8 bytes
  const auto after = folder.write("b.safetensors", weights);
  CHECK(file_hash(before) != file_hash(after));
  CHECK(file_hash(before).starts_with("xxh3:"));
  CHECK(file_hash(before).size() == 5 + 32);
  // The hash of before, as manifests have it: the same for both.
  CHECK(is_old_hash("4e5642e086d065df"));
  CHECK(is_file_hash("4e5642e086d065df", before));
  CHECK(is_file_hash("4e5642e086d065df", after));
  CHECK_FALSE(is_old_hash(file_hash(before)));
  CHECK(is_file_hash(file_hash(before), before));
  CHECK_FALSE(is_file_hash(file_hash(before), after));
  CHECK_FALSE(is_file_hash(file_hash(before), folder.path() / "missing"));
}

TEST_CASE("hashes are those of the algorithms, on every machine") {
  const testing::TemporaryFolder folder;
  // XXH3's own value for no bytes, and FNV-1a's; cells' folders are named by the latter.
  CHECK(file_hash(folder.write("empty", "")) == "xxh3:99aa06d3014798d86001c324468d497f");
  CHECK(content_hash("") == "cbf29ce484222325");
  CHECK(content_hash("a") == "af63dc4c8601ec8c");
  // Made by the version before XXH3.
  const auto file = folder.write("old", "weights of a model");
  CHECK(is_file_hash("eae13f0fbe08aed8", file));
  CHECK_FALSE(is_file_hash("0000000000000000", file));
}

TEST_CASE("a model's folder has another hash when a file of it changes, comes or goes") {
  const testing::TemporaryFolder folder;
  folder.write("config.json", "{}");
  folder.write("model.safetensors", "w");
  const std::string hash = folder_hash(folder.path());
  CHECK(is_folder_hash(hash, folder.path()));
  folder.write("model.safetensors", "v");
  CHECK_FALSE(is_folder_hash(hash, folder.path()));
  folder.write("model.safetensors", "w");
  CHECK(is_folder_hash(hash, folder.path()));
  folder.write("tokenizer.json", "{}");
  CHECK_FALSE(is_folder_hash(hash, folder.path()));
}

}  // namespace foretell
