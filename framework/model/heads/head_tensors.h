// What all draft heads share that are read from files: their tensors by name, each checked, and Llama's decoder layer
// among them.
//
// Contract: a head says which tensors it knows (HeadTensor); NamedTensors refuses in one line, by name, one that is
// missing, unknown or of another shape, and hands out the others in the target's dtype and on its device. Tensors are
// copied. A folder is a checkpoint; a file is itself.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/formats/safetensors.h"
#include "framework/model/decoder_layer.h"
#include "framework/model/language_model.h"

namespace foretell::model::heads {

struct HeadTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  bool required = true;
};

using HeadTensors = std::map<std::string, at::Tensor>;

// Where a folder keeps its heads: the first of `names` that is there; the folder where an index names the files; a file
// is itself. An Error where there is nothing but `pickle`, with the line that converts it.
std::filesystem::path head_file(const std::filesystem::path& path, std::initializer_list<const char*> names,
                                const char* pickle);

// The tensors of a file or of a folder's checkpoint, and how messages call it.
class HeadFile {
 public:
  static HeadFile open(const std::filesystem::path& path);
  const formats::StoredTensors& tensors() const { return file_ ? file_->tensors() : checkpoint_->tensors(); }
  const std::string& name() const { return name_; }
  // All numbers of it but those of tensors that `ignored` names.
  HeadTensors load(bool (*ignored)(std::string_view)) const;

 private:
  std::optional<formats::SafetensorsFile> file_ = {};
  std::optional<formats::Checkpoint> checkpoint_ = {};
  std::string name_ = {};
};

// Some published files hold the rotary frequencies, which follow from the config.
bool is_rotary_buffer(std::string_view name);

// float32, normal with this deviation: a function of the key.
at::Tensor random_tensor(const std::vector<std::int64_t>& shape, float deviation, std::uint64_t key);
// Untrained: gains are 1, matrices are normal with deviation noise / sqrt(inputs), biases 0. What is not required is
// left out.
HeadTensors random_tensors(const std::vector<HeadTensor>& known, std::uint64_t seed, float noise);
// The matrix of the target's own head, [vocab, hidden], as far as it has no bias.
at::Tensor output_matrix(const LanguageModel& target);
// What makes the rows of a target's embedding about 1 long in the root mean square.
double embedding_scale(const LanguageModel& target);

class NamedTensors {
 public:
  // `kind`: "an EAGLE head". Of both names, as messages call them. `tensors` outlive this.
  NamedTensors(const HeadTensors& tensors, const std::vector<HeadTensor>& known, const std::string& name,
               const std::string& kind, const LanguageModel& target);

  bool has(const std::string& name) const { return tensors_.contains(name); }
  at::Tensor get(const std::string& name) const;  // undefined where it is not there
  // Matrices one below the other, with their biases where they have some; packed.
  Linear linear(const std::vector<std::string>& stems, const PackOptions& pack = {}) const;
  // Without its tensor there is no norm: rows go through as they are.
  Norm norm(const std::string& stem, double eps) const;
  const at::TensorOptions& options() const { return options_; }

 private:
  const HeadTensors& tensors_;
  at::TensorOptions options_;
};

// Why a decoder layer of this config is none that is known here; null if it is one.
const char* unknown_layer(const formats::ModelConfig& config);
// The tensors of Llama's decoder layer under `stem` ("layers.0."), whose attention reads rows of width `input`.
void add_layer_tensors(std::vector<HeadTensor>& all, const formats::ModelConfig& config, const std::string& stem,
                       std::int64_t input);
// Its weights. The norm before the attention is there if its tensor is.
LayerWeights layer_weights(const NamedTensors& named, const formats::ModelConfig& config, const std::string& stem);

// A config for new layers beside a target: a Llama of one layer, as wide as the target and with its heads.
formats::ModelConfig layer_config_for(const formats::ModelConfig& target);

// The embedding of tokens: of the head's own matrix, or the target's where that is undefined. [tokens, hidden]
at::Tensor embed_tokens(const at::Tensor& own, const LanguageModel& target, TokenSpan tokens);

}  // namespace foretell::model::heads
