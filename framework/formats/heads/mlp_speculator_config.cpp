#include "framework/formats/heads/mlp_speculator_config.h"

#include <nlohmann/json.hpp>

#include "framework/core/error.h"
#include "framework/io/json.h"
#include "framework/io/mapped_file.h"

namespace foretell::formats::heads {
namespace {

int count_of(const io::JsonObject& json, const char* key, int least, int most) {
  const auto value = json.integer(key, least, most);
  if (!value) json.refuse(key, "is missing");
  return static_cast<int>(*value);
}

}  // namespace

MlpSpeculatorConfig parse_mlp_speculator_config(std::string_view text, const std::string& name) {
  const nlohmann::json document = io::parse_json(text, name);
  const io::JsonObject json(document, name);
  if (const auto method = json.string("method"); method && *method != "sum_rnn")
    json.refuse("method", "is '{}'; known: sum_rnn, the MLP", io::shown(*method));
  MlpSpeculatorConfig out;
  out.predict = count_of(json, "n_predict", 1, 64);
  out.hidden = count_of(json, "emb_dim", 1, 1 << 20);
  out.inner = static_cast<int>(json.integer("inner_dim", 0, 1 << 20).value_or(0));
  if (out.inner == 0) out.inner = out.hidden;
  out.vocab = count_of(json, "vocab_size", 1, 1 << 24);
  out.tied = json.boolean("tie_weights").value_or(false);
  out.scaled_input = json.boolean("scale_input").value_or(false);
  return out;
}

MlpSpeculatorConfig load_mlp_speculator_config(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  if (!std::filesystem::exists(path)) fail("{}: there is none; an MLP speculator has its config there", path.string());
  return parse_mlp_speculator_config(io::MappedFile::open(path).text(), path.string());
}

std::string mlp_speculator_config_json(const MlpSpeculatorConfig& config) {
  const nlohmann::ordered_json json = {{"architectures", {"MLPSpeculatorPreTrainedModel"}},
                                       {"model_type", "mlp_speculator"},
                                       {"n_predict", config.predict},
                                       {"emb_dim", config.hidden},
                                       {"inner_dim", config.inner},
                                       {"vocab_size", config.vocab},
                                       {"tie_weights", config.tied},
                                       {"scale_input", config.scaled_input}};
  return json.dump(2) + "\n";
}

}  // namespace foretell::formats::heads
