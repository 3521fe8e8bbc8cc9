#include "framework/training/checkpoint.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "framework/core/error.h"
#include "framework/core/mix.h"
#include "framework/formats/safetensors.h"
#include "framework/io/atomic_file.h"
#include "framework/io/json_reader.h"
#include "framework/model/stored_values.h"

namespace foretell::training {
namespace {

constexpr const char* kMeta = "meta";
constexpr const char* kChecksum = "checksum";

// Over eight bytes at a time: quick, and any changed bit changes it.
std::uint64_t checksum(std::span<const std::byte> bytes, std::uint64_t sum) {
  while (!bytes.empty()) {
    std::uint64_t word = 0;
    const std::size_t size = std::min(bytes.size(), sizeof word);
    std::memcpy(&word, bytes.data(), size);
    sum = mix64(sum ^ word);
    bytes = bytes.subspan(size);
  }
  return sum;
}

nlohmann::json to_json(const Trainer& trainer, const DataPosition& data, const RunState& state) {
  auto curve = nlohmann::json::array();
  for (const CurvePoint& point : state.curve) curve.push_back({point.step, point.values});
  return {{"steps_done", trainer.steps_done()},
          {"next_sample", data.next_sample},
          {"skipped", data.skipped},
          {"tokens", data.tokens},
          {"loss_tokens", data.loss_tokens},
          {"settings", state.settings},
          {"seconds", state.seconds},
          {"curve", curve}};
}

struct Named {
  std::string name;
  at::Tensor value;
};

std::vector<Named> tensors_of(Trainer& trainer) {
  std::vector<Named> all;
  AdamW& optimizer = trainer.optimizer();
  for (std::size_t i = 0; i < optimizer.parameters().size(); ++i) {
    const autograd::TrainParameter& parameter = optimizer.parameters()[i];
    all.push_back({"parameter." + parameter.name, parameter.value.detach()});
    all.push_back({"first_moment." + parameter.name, optimizer.moments()[i].first});
    all.push_back({"second_moment." + parameter.name, optimizer.moments()[i].second});
    if (!trainer.averages().empty()) all.push_back({"average." + parameter.name, trainer.averages()[i]});
  }
  return all;
}

void check_settings(const std::string& file, const std::string& stored, const std::string& wanted) {
  if (stored == wanted) return;
  std::istringstream old_lines(stored), new_lines(wanted);
  std::string old_line, new_line;
  while (std::getline(old_lines, old_line) && std::getline(new_lines, new_line) && old_line == new_line) {
  }
  fail(
      "{}: was made with other settings: '{}' there, '{}' now; name another folder with --out, or start over with "
      "--restart",
      file, old_line, new_line);
}

}  // namespace

void save_checkpoint(const std::filesystem::path& file, Trainer& trainer, const RunState& state) {
  const std::string meta = to_json(trainer, trainer.data(), state).dump();
  std::uint64_t sum = checksum(std::as_bytes(std::span(meta)), 0);
  std::vector<formats::NewTensor> tensors;
  for (const Named& named : tensors_of(trainer)) {
    formats::NewTensor tensor = model::stored_as(named.name, named.value, at::kFloat);
    tensor.fill = [&sum, fill = std::move(tensor.fill)](std::span<std::byte> out) {
      fill(out);
      sum = checksum(out, sum);
    };
    tensors.push_back(std::move(tensor));
  }
  const auto copy = [](const void* from) {
    return [from](std::span<std::byte> out) { std::memcpy(out.data(), from, out.size()); };
  };
  tensors.push_back({kMeta, formats::StoredType::U8, {static_cast<std::int64_t>(meta.size())}, copy(meta.data())});
  tensors.push_back(
      {kChecksum, formats::StoredType::U64, {1}, copy(&sum)});  // last: all others have been written by then
  io::make_folder(file.parent_path());
  formats::write_safetensors(file, tensors);
}

RunState load_checkpoint(const std::filesystem::path& file, Trainer& trainer, const std::string& settings) {
  const formats::SafetensorsFile stored = formats::SafetensorsFile::open(file);
  const std::span<const std::byte> meta = stored.at(kMeta).bytes;
  const std::string_view text(reinterpret_cast<const char*>(meta.data()), meta.size());
  const Location where{file.string(), {}};
  const nlohmann::json parsed = io::parse_json(text, where);
  const io::JsonView json(parsed, "", where);
  check_settings(file.string(), json.at("settings").string(), settings);
  std::uint64_t sum = checksum(meta, 0);
  for (const Named& named : tensors_of(trainer)) {
    const formats::StoredTensor& tensor = stored.at(named.name);
    if (tensor.shape != named.value.sizes().vec())
      fail("{}: the tensor '{}' has another shape than the model", file.string(), named.name);
    sum = checksum(tensor.bytes, sum);
  }
  const formats::StoredTensor& expected = stored.at(kChecksum);
  if (expected.bytes.size() != sizeof sum || std::memcmp(expected.bytes.data(), &sum, sizeof sum) != 0)
    fail("{}: is damaged: its checksum does not fit; start over with --restart", file.string());
  const c10::NoGradGuard no_grad;
  for (Named& named : tensors_of(trainer)) named.value.copy_(model::tensor_of(stored.at(named.name), named.name));
  constexpr std::int64_t kMost = std::int64_t{1} << 53;
  const auto count = [&](const char* key) { return json.at(key).integer(0, kMost); };
  const auto step = [](const io::JsonView& value) {
    return static_cast<int>(value.integer(0, std::numeric_limits<int>::max()));
  };
  trainer.optimizer().set_steps_done(step(json.at("steps_done")));
  trainer.data() = {static_cast<std::uint64_t>(count("next_sample")), count("skipped"), count("tokens"),
                    count("loss_tokens")};
  RunState state{settings, {}, json.at("seconds").number()};
  const io::JsonView curve = json.at("curve");
  for (std::size_t i = 0; i < curve.size(); ++i) {
    const io::JsonView values = curve.at(i).at(std::size_t{1});
    CurvePoint point{step(curve.at(i).at(std::size_t{0})), {}};
    for (std::size_t k = 0; k < values.size(); ++k)
      point.values.emplace_back(values.at(k).at(std::size_t{0}).string(), values.at(k).at(std::size_t{1}).number());
    state.curve.push_back(std::move(point));
  }
  return state;
}

}  // namespace foretell::training
