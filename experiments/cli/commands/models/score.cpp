#include <cmath>
#include <cstring>

#include "experiments/cell/model_pool.h"
#include "experiments/cli/commands/models/commands.h"
#include "experiments/util/console.h"
#include "framework/core/error.h"
#include "framework/formats/safetensors.h"

namespace foretell::cli::commands::models {
namespace {

constexpr int kChunk = 256;  // rows of one forward: bounds the memory of the logits, not their values

struct ScoreOptions {
  std::string model, ids_file, out, device = "cpu";
  std::optional<std::string> dtype, kv_dtype;
};

struct Batch {
  std::int64_t sequences = 0, length = 0;
  Tokens ids;  // [sequences, length]
};

template <class Stored>
void convert_ids(const formats::StoredTensor& stored, const std::string& file, int vocab, Tokens& out) {
  const std::size_t count = stored.bytes.size() / sizeof(Stored);
  for (std::size_t i = 0; i < count; ++i) {
    Stored id;
    std::memcpy(&id, stored.bytes.data() + i * sizeof(Stored), sizeof(Stored));
    if (id < 0 || id >= vocab)
      fail("{}: input_ids: id {} at {} is out of range, the vocabulary has {}", file, id, i, vocab);
    out.push_back(static_cast<Token>(id));
  }
}

Batch read_batch(const std::string& file, const formats::ModelConfig& config) {
  const formats::SafetensorsFile tensors = formats::SafetensorsFile::open(file);
  const formats::StoredTensor& stored = tensors.at("input_ids");
  if (stored.shape.size() != 2 || stored.shape[0] < 1 || stored.shape[1] < 1)
    fail("{}: input_ids: expected shape [b, t] with at least one token, found {}", file,
         formats::to_string(stored.shape));
  if (stored.shape[1] > config.context)
    fail("{}: input_ids: {} tokens are longer than the model's context of {}", file, stored.shape[1], config.context);
  Batch batch{stored.shape[0], stored.shape[1], {}};
  switch (stored.type) {
    case formats::StoredType::I32: convert_ids<std::int32_t>(stored, file, config.vocab_size, batch.ids); break;
    case formats::StoredType::I64: convert_ids<std::int64_t>(stored, file, config.vocab_size, batch.ids); break;
    default: fail("{}: input_ids: expected I32 or I64, found {}", file, name_of(stored.type));
  }
  return batch;
}

void check_finite(const float* logits, std::int64_t count, const std::string& model) {
  for (std::int64_t i = 0; i < count; ++i)
    if (std::isnan(logits[i])) fail("{}: the model's logits have a NaN: its weights are damaged", model);
}

// Each sequence on its own cache, in chunks.
void score_batch(const model::LanguageModel& model, const Batch& batch, const std::string& name,
                 std::span<std::byte> out) {
  const std::int64_t vocab = model.config().vocab_size;
  std::byte* next = out.data();
  for (std::int64_t s = 0; s < batch.sequences; ++s) {
    const auto cache = model.make_cache(static_cast<int>(batch.length));
    const TokenSpan ids = TokenSpan(batch.ids).subspan(s * batch.length, batch.length);
    for (std::size_t at = 0; at < ids.size(); at += kChunk) {
      const TokenSpan chunk = ids.subspan(at, std::min<std::size_t>(kChunk, ids.size() - at));
      const at::Tensor logits =
          model.forward(model::ForwardItem{chunk, model::ChainShape{}, cache.get(), model::LogitRows::All})
              .logits.to(at::kCPU)
              .contiguous();
      const std::int64_t count = static_cast<std::int64_t>(chunk.size()) * vocab;
      check_finite(logits.const_data_ptr<float>(), count, name);
      std::memcpy(next, logits.const_data_ptr<float>(), count * sizeof(float));
      next += count * sizeof(float);
    }
  }
}

std::string dtype_of(const ScoreOptions& options) {
  if (options.dtype) return *options.dtype;
  return formats::load_model_config(options.model).dtype == "float64" ? "f64" : "f32";
}

void score(const ScoreOptions& options) {
  const auto model = load_model(options.model, cell::load_options(dtype_of(options), options.device, options.kv_dtype));
  const Batch batch = read_batch(options.ids_file, model->config());
  const formats::NewTensor logits{"logits",
                                  formats::StoredType::F32,
                                  {batch.sequences, batch.length, model->config().vocab_size},
                                  [&](std::span<std::byte> out) { score_batch(*model, batch, options.model, out); }};
  formats::write_safetensors(options.out, std::span(&logits, 1));
  util::print_out(
      fmt::format("{}: logits [{}, {}, {}]\n", options.out, batch.sequences, batch.length, model->config().vocab_size));
}

}  // namespace

void add_score_command(util::Command app) {
  auto options = std::make_shared<ScoreOptions>();
  util::Command command = app.add_command("score", "Write a model's logits for given tokens");
  command.add("--model", options->model, "the model's folder", {.type = "DIR", .required = true});
  command.add("--ids-file", options->ids_file, "safetensors with input_ids [b, t], I32 or I64",
              {.type = "FILE", .required = true});
  command.add("--out", options->out, "receives logits [b, t, vocab], F32", {.type = "FILE", .required = true});
  command.add("--dtype", options->dtype,
              "f32, bf16 or f64: what the model computes in; without it f32, or f64 where the checkpoint asks for it",
              {.type = "T"});
  command.add("--kv-dtype", options->kv_dtype, "of keys and values: auto (as the model's) or int8", {.type = "T"});
  command.add("--device", options->device, "cpu, cuda or cuda:N", {.type = "D", .show_default = true});
  command.run([options] { score(*options); });
}

}  // namespace foretell::cli::commands::models
