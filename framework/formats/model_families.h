// The families of models that can be loaded: how the config.json of each is read.
//
// Contract: parse functions fill a ModelConfig from the definitions of Hugging Face's *Config classes, with their
// defaults where a key is absent; what the transformer cannot run is an Error that names the key. Special tokens that
// are set here are defaults. Torch-free.
#pragma once

#include <span>

#include "framework/formats/model_config.h"
#include "framework/io/json.h"

namespace foretell::formats {

struct ModelFamily {
  const char* name;          // config.json's "model_type"
  const char* architecture;  // the entry of config.json's "architectures"
  const char* summary;
  ModelConfig (*parse)(const io::JsonObject&);
  std::span<const io::JsonAlias> aliases = {};  // of keys that parse() reads: the class's attribute_map
};

std::span<const ModelFamily> model_families();

// By "model_type", or by "architectures" where that is missing; an Error that lists the known ones if it is none of
// them.
const ModelFamily& find_family(const io::JsonObject& json);

}  // namespace foretell::formats
