#include "framework/formats/exit_heads.h"

#include <charconv>
#include <optional>

#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/core/text.h"

namespace foretell::formats {
namespace {

constexpr std::string_view kPrefix = "layers.";

struct Place {
  int layer = 0;
  bool bias = false;
};

// "layers.4.weight"
std::optional<Place> place_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  Place place;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data(), end, place.layer);
  const bool padded = name.size() > 1 && name.front() == '0';  // one tensor has one name
  if (error != std::errc() || stop == end || padded || place.layer < 0) return std::nullopt;
  const std::string_view part(stop, static_cast<std::size_t>(end - stop));
  if (part != ".weight" && part != ".bias") return std::nullopt;
  place.bias = part == ".bias";
  return place;
}

bool is_number(StoredType type) {
  return type == StoredType::F32 || type == StoredType::F16 || type == StoredType::BF16 || type == StoredType::F64;
}

void check_shapes(int layer, const ExitHeadShape& shape, const std::string& name, ExitHeadTensors& head) {
  const std::string tensor = fmt::format("{}: 'layers.{}.", name, layer);
  if (!head.weight) fail("{}weight' is missing: the file has a bias alone", tensor);
  const std::vector<std::int64_t> own = {shape.vocab, shape.hidden}, translator = {shape.hidden, shape.hidden};
  if (head.weight->shape != own && head.weight->shape != translator)
    fail("{}weight' is {}; expected {}, a head, or {}, a translator of states", tensor, to_string(head.weight->shape),
         to_string(own), to_string(translator));
  head.translator = head.weight->shape != own;
  const std::vector<std::int64_t> outputs = {head.weight->shape.front()};
  if (head.bias && head.bias->shape != outputs)
    fail("{}bias' is {}, its weight has {}", tensor, to_string(head.bias->shape), counted(outputs.front(), "output"));
  for (const auto& [part, stored] : {std::pair("weight", head.weight), {"bias", head.bias}})
    if (stored && !is_number(stored->type))
      fail("{}{}' is of {}; expected F32, F16, BF16 or F64", tensor, part, name_of(stored->type));
}

}  // namespace

std::map<int, ExitHeadTensors> exit_head_tensors(const StoredTensors& tensors, const ExitHeadShape& shape,
                                                 const std::string& name) {
  std::map<int, ExitHeadTensors> heads;
  for (const auto& [tensor, stored] : tensors) {
    const std::optional<Place> place = place_of(tensor);
    if (!place)
      fail("{}: '{}' is no tensor of an exit head: expected layers.N.weight or layers.N.bias", name, printable(tensor));
    if (place->layer < 1 || place->layer >= shape.num_layers)
      fail("{}: '{}': the model has {}, so a head stands behind layer 1 to {}", name, printable(tensor),
           counted(shape.num_layers, "layer"), shape.num_layers - 1);
    ExitHeadTensors& head = heads[place->layer];
    (place->bias ? head.bias : head.weight) = &stored;
  }
  if (heads.empty()) fail("{}: there is no tensor of an exit head, as 'layers.1.weight'", name);
  for (auto& [layer, head] : heads) check_shapes(layer, shape, name, head);
  return heads;
}

}  // namespace foretell::formats
