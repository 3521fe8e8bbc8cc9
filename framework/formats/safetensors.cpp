#include "framework/formats/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/atomic_file.h"
#include "framework/io/json.h"

namespace foretell::formats {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;  // the format's own limit
constexpr std::size_t kMostDimensions = 16;

struct TypeRow {
  StoredType type;
  std::string_view name;
  std::size_t bytes;
};
constexpr std::array kTypes = {
    TypeRow{StoredType::Bool, "BOOL", 1},      TypeRow{StoredType::U8, "U8", 1},
    TypeRow{StoredType::I8, "I8", 1},          TypeRow{StoredType::F8E4M3, "F8_E4M3", 1},
    TypeRow{StoredType::F8E5M2, "F8_E5M2", 1}, TypeRow{StoredType::I16, "I16", 2},
    TypeRow{StoredType::U16, "U16", 2},        TypeRow{StoredType::F16, "F16", 2},
    TypeRow{StoredType::BF16, "BF16", 2},      TypeRow{StoredType::I32, "I32", 4},
    TypeRow{StoredType::U32, "U32", 4},        TypeRow{StoredType::F32, "F32", 4},
    TypeRow{StoredType::I64, "I64", 8},        TypeRow{StoredType::U64, "U64", 8},
    TypeRow{StoredType::F64, "F64", 8},
};

const TypeRow& row_of(StoredType type) {
  const auto* row = std::find_if(kTypes.begin(), kTypes.end(), [type](const TypeRow& r) { return r.type == type; });
  FORETELL_CHECK(row != kTypes.end(), "type {}", static_cast<int>(type));
  return *row;
}

StoredType parse_type(const std::string& text, const std::string& where) {
  const auto* row = std::find_if(kTypes.begin(), kTypes.end(), [&text](const TypeRow& r) { return r.name == text; });
  if (row != kTypes.end()) return row->type;
  std::vector<std::string_view> known;
  known.reserve(kTypes.size());
  for (const TypeRow& r : kTypes) known.push_back(r.name);
  fail("{}: unknown dtype '{}'; known: {}", where, io::shown(text), fmt::join(known, ", "));
}

// The bytes of a tensor; an Error where the product overflows.
std::uint64_t byte_count(std::span<const std::int64_t> shape, StoredType type, const std::string& where) {
  std::uint64_t bytes = bytes_of(type);
  for (const std::int64_t size : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes))
      fail("{}: the shape {} is too large", where, to_string(shape));
  }
  return bytes;
}

std::uint64_t unsigned_value(const nlohmann::json& value, const std::string& where, const char* what) {
  if (!value.is_number_unsigned() ||
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    fail("{}: {} holds {}, a count is expected", where, what, io::shown(value));
  }
  return value.get<std::uint64_t>();
}

std::vector<std::int64_t> parse_shape(const nlohmann::json* value, const std::string& where) {
  if (value == nullptr || !value->is_array() || value->size() > kMostDimensions) {
    fail("{}: 'shape' must be a list of at most {} counts", where, kMostDimensions);
  }
  std::vector<std::int64_t> shape;
  for (const auto& size : *value) shape.push_back(static_cast<std::int64_t>(unsigned_value(size, where, "'shape'")));
  return shape;
}

struct Extent {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::string where;
};

// One entry of the header. The tensor's bytes are set later, when the whole file is known to be sound.
std::pair<StoredTensor, Extent> parse_entry(const std::string& key, const nlohmann::json& value,
                                            const std::string& file) {
  const std::string where = fmt::format("{}: tensor '{}'", file, io::shown(key));
  const io::JsonObject entry(value, where);
  const auto type = entry.string("dtype");
  if (!type) fail("{}: 'dtype' is missing", where);
  StoredTensor tensor{parse_type(*type, where), parse_shape(entry.find("shape"), where), {}};
  const nlohmann::json* offsets = entry.find("data_offsets");
  if (offsets == nullptr || !offsets->is_array() || offsets->size() != 2)
    fail("{}: 'data_offsets' must be a list of two counts", where);
  Extent extent{unsigned_value((*offsets)[0], where, "'data_offsets'"),
                unsigned_value((*offsets)[1], where, "'data_offsets'"), where};
  const std::uint64_t bytes = byte_count(tensor.shape, tensor.type, where);
  if (extent.end < extent.begin || extent.end - extent.begin != bytes) {
    fail("{}: 'data_offsets' [{}, {}] do not fit shape {} of {}, which takes {}", where, extent.begin, extent.end,
         to_string(tensor.shape), name_of(tensor.type), counted(bytes, "byte"));
  }
  return {std::move(tensor), std::move(extent)};
}

// The format demands that tensors cover the data exactly, without gaps or overlaps. Returns where the last one ends.
std::uint64_t check_cover(std::vector<Extent> extents) {
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t expected = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != expected) {
      fail("{}: its bytes start at {}, the tensor before it ends at {}: {}", extent.where, extent.begin, expected,
           extent.begin < expected ? "they overlap" : "there is a gap");
    }
    expected = extent.end;
  }
  return expected;
}

std::uint64_t read_header_length(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.size() < kLengthBytes)
    fail("{}: truncated: {}, the header's length alone takes {}", name, counted(bytes.size(), "byte"), kLengthBytes);
  constexpr std::string_view kPointer = "version https://git-lfs";
  if (bytes.size() > kPointer.size() && std::memcmp(bytes.data(), kPointer.data(), kPointer.size()) == 0)
    fail("{}: a Git LFS pointer stands in the place of the file: fetch it with `git lfs pull`", name);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kLongestHeader) {
    fail("{}: not a safetensors file: its header would be {} long, at most {} are allowed", name,
         counted(length, "byte"), kLongestHeader);
  }
  if (length > bytes.size() - kLengthBytes) {
    fail("{}: truncated: the header ends at byte {}, the file has {}", name, length + kLengthBytes, bytes.size());
  }
  return length;
}

StoredTensors parse_tensors(std::span<const std::byte> bytes, const std::string& name) {
  const std::uint64_t length = read_header_length(bytes, name);
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + length);
  const nlohmann::json document =
      io::parse_json(header, name + " (header)", {.bytes = kLongestHeader, .depth = 4, .unique_keys = true});
  if (!document.is_object()) fail("{}: the header must be a JSON object, found {}", name, document.type_name());

  StoredTensors tensors;
  std::map<std::string, std::uint64_t> begins;
  std::vector<Extent> extents;
  for (const auto& [key, value] : document.items()) {
    if (key == "__metadata__") continue;
    auto [tensor, extent] = parse_entry(key, value, name);
    begins[key] = extent.begin;
    tensors[key] = std::move(tensor);
    extents.push_back(std::move(extent));
  }
  const std::uint64_t expected = check_cover(std::move(extents));
  if (expected != data.size()) {
    const std::uint64_t whole = kLengthBytes + length + expected;
    fail("{}: {}: its header describes {}, the file has {}", name,
         whole > bytes.size() ? "truncated" : "has bytes of no tensor at its end", counted(whole, "byte"),
         bytes.size());
  }
  for (auto& [key, tensor] : tensors)
    tensor.bytes = data.subspan(begins[key], byte_count(tensor.shape, tensor.type, key));
  return tensors;
}

}  // namespace

std::string_view name_of(StoredType type) { return row_of(type).name; }
std::size_t bytes_of(StoredType type) { return row_of(type).bytes; }
std::string to_string(std::span<const std::int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, const std::string& name) {
  SafetensorsFile file;
  file.name_ = name;
  file.tensors_ = parse_tensors(bytes, name);
  return file;
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  const io::MappedFile mapped = io::MappedFile::open(path);
  SafetensorsFile file = parse(mapped.bytes(), path.string());
  file.file_ = mapped;
  return file;
}

const StoredTensor& SafetensorsFile::at(std::string_view tensor) const {
  const auto it = tensors_.find(tensor);
  if (it != tensors_.end()) return it->second;
  std::vector<std::string> known;
  for (const auto& [name, value] : tensors_) {
    if (known.size() == 8) break;
    known.push_back(name);
  }
  fail("{}: no tensor '{}'; it holds {}{}", name_, tensor, fmt::join(known, ", "),
       known.size() < tensors_.size() ? ", ..." : "");
}

void write_safetensors(const std::filesystem::path& path, std::span<const NewTensor> tensors) {
  nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  std::uint64_t offset = 0;
  for (const NewTensor& tensor : tensors) {
    const std::uint64_t end = offset + byte_count(tensor.shape, tensor.type, tensor.name);
    FORETELL_CHECK(!header.contains(tensor.name), "tensor {} twice in {}", tensor.name, path.string());
    header[tensor.name] = {{"dtype", name_of(tensor.type)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data start at a multiple of 8
  const std::uint64_t length = text.size();

  io::AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(text);
  std::vector<std::byte> buffer;
  for (const NewTensor& tensor : tensors) {
    buffer.assign(byte_count(tensor.shape, tensor.type, tensor.name), std::byte{});
    tensor.fill(buffer);
    file.write(buffer);
  }
  file.commit();
}

void write_safetensors(const std::filesystem::path& path, const StoredTensors& tensors) {
  std::vector<NewTensor> list;
  for (const auto& [name, tensor] : tensors) {
    list.push_back({name, tensor.type, tensor.shape, [bytes = tensor.bytes, name = name](std::span<std::byte> out) {
                      FORETELL_CHECK(bytes.size() == out.size(), "tensor {}: {} bytes for {}", name, bytes.size(),
                                     out.size());
                      std::copy(bytes.begin(), bytes.end(), out.begin());
                    }});
  }
  write_safetensors(path, list);
}

}  // namespace foretell::formats
