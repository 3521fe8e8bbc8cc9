// What learners of draft heads share: what they borrow of the frozen target, and how their files are written.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "framework/formats/safetensors.h"
#include "framework/training/learner.h"

namespace foretell::training::learners {

// The matrix of the target's head, float32 [vocab, hidden] without a graph. Whatever its family and dtype: what the
// head makes of unit vectors. An Error for a model that lends no parts.
at::Tensor head_matrix(const model::LanguageModel& target, const Location& where);
// Its embeddings of these ids, float32 [rows, hidden] without a graph and without learned positions.
at::Tensor embedded(const model::LanguageModel& target, const at::Tensor& ids);

// Its final norm, with a graph through the state and none to gain and bias.
class FrozenNorm {
 public:
  FrozenNorm(const model::LanguageModel& target, at::Device device);
  at::Tensor operator()(const at::Tensor& state) const;

 private:
  bool centred_ = false;  // LayerNorm
  double eps_ = 0;
  at::Tensor gain_, bias_;  // the bias of LayerNorm alone
};

// A leaf to be learned, normal with this deviation; zeros for 0. A function of seed and name.
at::Tensor leaf(const std::vector<std::int64_t>& shape, double deviation, std::int64_t seed, const std::string& name);

// Leaves of new layers: a matrix whose outputs have a third of the variance of its inputs, and gains of 1.
at::Tensor new_matrix(const std::string& name, std::int64_t outputs, std::int64_t inputs, std::int64_t seed,
                      at::Device device);
at::Tensor new_gain(std::int64_t width, at::Device device);

// Of a batch's tokens: what is drawn from it is drawn again by a run that goes on.
std::uint64_t batch_hash(const autograd::TrainBatch& batch);

// float32 or bfloat16, as run.save_dtype says.
std::vector<formats::NewTensor> head_file_tensors(const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                                                  const std::string& save_dtype);
void write_head(const std::filesystem::path& file, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                const std::string& save_dtype);

}  // namespace foretell::training::learners
