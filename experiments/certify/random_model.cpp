#include "experiments/certify/random_model.h"

#include <fstream>

#include "experiments/util/scratch_folder.h"
#include "framework/model/load_model.h"
#include "framework/model/make_random.h"

namespace foretell::certify {
std::shared_ptr<const model::LanguageModel> random_model(const std::string& config, std::uint64_t seed) {
  const util::ScratchFolder folder("certify");
  std::ofstream(folder.path() / "given.json") << config;
  model::make_random(folder.path() / "given.json", folder.path() / "model", seed);
  return model::load_model(folder.path() / "model");  // which keeps the files that it maps
}

}  // namespace foretell::certify
