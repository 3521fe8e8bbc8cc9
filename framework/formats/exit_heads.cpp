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
  const StoredTensor* ExitHeadTensors::*part = nullptr;
};

constexpr std::pair<std::string_view, const StoredTensor * ExitHeadTensors::*> kExitHeadParts[] = {
    {".weight", &ExitHeadTensors::weight},
    {".bias", &ExitHeadTensors::bias},
    {".up.weight", &ExitHeadTensors::up},
    {".down.weight", &ExitHeadTensors::down}};

// "layers.4.weight"
std::optional<Place> place_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  Place place;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data(), end, place.layer);
  const bool padded = name.size() > 1 && name.front() == '0';  // one tensor has one name
  if (error != std::errc() || stop == end || padded || place.layer < 0) return std::nullopt;
  for (const auto& [part, member] : kExitHeadParts)
    if (part == std::string_view(stop, static_cast<std::size_t>(end - stop))) place.part = member;
  return place.part != nullptr ? std::optional(place) : std::nullopt;
}

bool is_number(StoredType type) {
  return type == StoredType::F32 || type == StoredType::F16 || type == StoredType::BF16 || type == StoredType::F64;
}

void check_mlp(const std::string& tensor, const ExitHeadShape& shape, const ExitHeadTensors& head) {
  if ((head.up == nullptr) != (head.down == nullptr))
    fail("{}{}.weight' is missing: an MLP has 'up' and 'down'", tensor, head.up ? "down" : "up");
  if (head.up == nullptr) return;
  const std::int64_t inner = head.up->shape.empty() ? 0 : head.up->shape.front();
  const std::vector<std::int64_t> up = {inner, shape.hidden}, down = {shape.hidden, inner};
  if (inner < 1 || head.up->shape != up)
    fail("{}up.weight' is {}; expected [inner, {}]", tensor, to_string(head.up->shape), shape.hidden);
  if (head.down->shape != down)
    fail("{}down.weight' is {}; expected {}, as 'up' has it", tensor, to_string(head.down->shape), to_string(down));
}

void check_shapes(int layer, const ExitHeadShape& shape, const std::string& name, ExitHeadTensors& head) {
  const std::string tensor = fmt::format("{}: 'layers.{}.", name, layer);
  for (const auto& [part, member] : kExitHeadParts)
    if (head.*member && !is_number((head.*member)->type))
      fail("{}{}' is of {}; expected F32, F16, BF16 or F64", tensor, part.substr(1), name_of((head.*member)->type));
  check_mlp(tensor, shape, head);
  if (!head.weight) {
    if (!head.up || head.bias) fail("{}weight' is missing: the file has a bias alone", tensor);
    return;
  }
  const std::vector<std::int64_t> own = {shape.vocab, shape.hidden}, translator = {shape.hidden, shape.hidden};
  if (head.weight->shape != own && head.weight->shape != translator)
    fail("{}weight' is {}; expected {}, a head, or {}, a translator of states", tensor, to_string(head.weight->shape),
         to_string(own), to_string(translator));
  head.translator = head.weight->shape != own;
  if (head.translator && head.up) fail("{}weight' translates states, and 'up' is an MLP: expected one of them", tensor);
  const std::vector<std::int64_t> outputs = {head.weight->shape.front()};
  if (head.bias && head.bias->shape != outputs)
    fail("{}bias' is {}, its weight has {}", tensor, to_string(head.bias->shape), counted(outputs.front(), "output"));
}

}  // namespace

std::map<int, ExitHeadTensors> exit_head_tensors(const StoredTensors& tensors, const ExitHeadShape& shape,
                                                 const std::string& name) {
  std::map<int, ExitHeadTensors> heads;
  for (const auto& [tensor, stored] : tensors) {
    const std::optional<Place> place = place_of(tensor);
    if (!place)
      fail(
          "{}: '{}' is no tensor of an exit head: expected layers.N.weight, layers.N.bias, layers.N.up.weight or "
          "layers.N.down.weight",
          name, printable(tensor));
    if (place->layer < 1 || place->layer >= shape.num_layers)
      fail("{}: '{}': the model has {}, so a head stands behind layer 1 to {}", name, printable(tensor),
           counted(shape.num_layers, "layer"), shape.num_layers - 1);
    heads[place->layer].*place->part = &stored;
  }
  if (heads.empty()) fail("{}: there is no tensor of an exit head, as 'layers.1.weight'", name);
  for (auto& [layer, head] : heads) check_shapes(layer, shape, name, head);
  return heads;
}

}  // namespace foretell::formats
