#include "experiments/certify/random_model.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "framework/core/error.h"
#include "framework/model/load_model.h"
#include "framework/model/make_random.h"

namespace foretell::certify {
namespace {

class ScratchFolder {
 public:
  ScratchFolder() : path_((std::filesystem::temp_directory_path() / "foretell-certify-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) fail("cannot make a temporary folder {}", path_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  std::filesystem::path path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

std::shared_ptr<const model::LanguageModel> random_model(const std::string& config, std::uint64_t seed) {
  const ScratchFolder folder;
  std::ofstream(folder.path() / "given.json") << config;
  model::make_random(folder.path() / "given.json", folder.path() / "model", seed);
  return model::load_model(folder.path() / "model");  // which keeps the files that it maps
}

}  // namespace foretell::certify
