#include "framework/exits/probe_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/formats/stored_numbers.h"

namespace foretell::exits {
namespace {

using formats::StoredTensor;
using Parts = std::map<std::string, const StoredTensor*, std::less<>>;

struct PartName {
  int layer = 0;  // 0: shared
  std::string part = {};
};

// "layers.4.up.weight", "shared.bias"
std::optional<PartName> part_name(std::string_view name) {
  constexpr std::string_view kShared = "shared.", kLayers = "layers.";
  if (name.starts_with(kShared)) return PartName{0, std::string(name.substr(kShared.size()))};
  if (!name.starts_with(kLayers)) return std::nullopt;
  name.remove_prefix(kLayers.size());
  PartName out;
  const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), out.layer);
  const auto digits = static_cast<std::size_t>(stop - name.data());
  if (error != std::errc() || digits == 0 || name.front() == '0' || name.front() == '-' || out.layer < 1 ||
      digits >= name.size() || name[digits] != '.')
    return std::nullopt;
  out.part = name.substr(digits + 1);
  return out;
}

std::map<int, Parts> parts_of(const formats::StoredTensors& tensors, std::initializer_list<std::string_view> known,
                              bool may_share, const std::string& name) {
  std::map<int, Parts> out;
  for (const auto& [tensor, stored] : tensors) {
    const std::optional<PartName> place = part_name(tensor);
    if (!place || (place->layer == 0 && !may_share) ||
        std::find(known.begin(), known.end(), place->part) == known.end())
      fail("{}: '{}' is none of its tensors: expected layers.N.{}", name, printable(tensor), *known.begin());
    out[place->layer][place->part] = &stored;
  }
  if (out.empty()) fail("{}: there is no tensor, as 'layers.1.{}'", name, *known.begin());
  return out;
}

// Of this shape; a length of 0 is any.
std::vector<float> numbers_of(const Parts& parts, const char* part, std::vector<std::int64_t> shape, int layer,
                              const std::string& name) {
  const std::string tensor = layer == 0 ? fmt::format("shared.{}", part) : fmt::format("layers.{}.{}", layer, part);
  const auto found = parts.find(part);
  if (found == parts.end()) fail("{}: '{}' is missing", name, tensor);
  const StoredTensor& stored = *found->second;
  using enum formats::StoredType;
  if (stored.type != F32 && stored.type != F16 && stored.type != BF16 && stored.type != F64)
    fail("{}: '{}' is of {}; expected F32, F16, BF16 or F64", name, tensor, formats::name_of(stored.type));
  bool fits = stored.shape.size() == shape.size();
  for (std::size_t i = 0; fits && i < shape.size(); ++i)
    fits = stored.shape[i] > 0 && (shape[i] == 0 || stored.shape[i] == shape[i]);
  if (!fits)
    fail("{}: '{}' is {}; expected {}, where 0 is any length", name, tensor, formats::to_string(stored.shape),
         formats::to_string(shape));
  const std::size_t size = formats::bytes_of(stored.type);
  std::vector<float> out(stored.bytes.size() / size);
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = formats::read_stored(stored.type, stored.bytes.data() + i * size);
    if (!std::isfinite(out[i])) fail("{}: '{}' holds a value that is not a finite number", name, tensor);
  }
  return out;
}

formats::SafetensorsFile open_in(const std::filesystem::path& path, const char* file) {
  return formats::SafetensorsFile::open(std::filesystem::is_directory(path) ? path / file : path);
}

std::string name_in(const std::filesystem::path& path, const char* file) {
  return (std::filesystem::is_directory(path) ? path / file : path).string();
}

constexpr const char* kProbes = "exit_probe.safetensors";
constexpr const char* kPredictors = "exit_predictor.safetensors";

}  // namespace

double LinearProbe::operator()(const std::vector<float>& input) const {
  double sum = bias;
  for (std::size_t i = 0; i < weight.size(); ++i) sum += static_cast<double>(weight[i]) * input[i];
  return sum;
}

ProbeFile parse_probes(const formats::StoredTensors& tensors, const std::string& name) {
  ProbeFile out;
  std::int64_t width = 0;
  for (const auto& [layer, parts] : parts_of(tensors, {"weight", "bias"}, true, name)) {
    LinearProbe probe{numbers_of(parts, "weight", {width}, layer, name),
                      numbers_of(parts, "bias", {1}, layer, name).front()};
    width = std::ssize(probe.weight);
    if (layer == 0)
      out.shared = std::move(probe);
    else
      out.by_layer[layer] = std::move(probe);
  }
  if (out.shared && !out.by_layer.empty())
    fail("{}: there is a shared probe and one behind layer {}: expected one of the two", name,
         out.by_layer.begin()->first);
  return out;
}

ProbeFile load_probes(const std::filesystem::path& path) {
  return parse_probes(open_in(path, kProbes).tensors(), name_in(path, kProbes));
}

double Predictor::operator()(const std::vector<double>& input) const {
  double out = down_bias;
  const auto width = static_cast<std::size_t>(features);
  for (std::size_t i = 0; i < static_cast<std::size_t>(inner); ++i) {
    double sum = up_bias[i];
    for (std::size_t j = 0; j < width; ++j) sum += static_cast<double>(up[i * width + j]) * input[j];
    out += std::max(sum, 0.0) * down[i];
  }
  return out;
}

PredictorFile parse_predictors(const formats::StoredTensors& tensors, const std::string& name) {
  PredictorFile out;
  std::int64_t features = 0;
  for (const auto& [layer, parts] :
       parts_of(tensors, {"up.weight", "up.bias", "down.weight", "down.bias"}, false, name)) {
    Predictor& made = out[layer];
    made.up_bias = numbers_of(parts, "up.bias", {0}, layer, name);
    made.inner = static_cast<int>(made.up_bias.size());
    made.up = numbers_of(parts, "up.weight", {made.inner, features}, layer, name);
    features = std::ssize(made.up) / made.inner;
    made.features = static_cast<int>(features);
    made.down = numbers_of(parts, "down.weight", {made.inner}, layer, name);
    made.down_bias = numbers_of(parts, "down.bias", {1}, layer, name).front();
  }
  if (features % 3 != 0 || features > 3 * 4096)
    fail("{}: 'up.weight' has {} inputs; expected three for each candidate token", name, features);
  return out;
}

PredictorFile load_predictors(const std::filesystem::path& path) {
  return parse_predictors(open_in(path, kPredictors).tensors(), name_in(path, kPredictors));
}

}  // namespace foretell::exits
