// A trained draft head padded with zeros to the shape of its target's inflated model (inflate.h), so that real
// acceptance can be measured at the cost of a larger shape.
//
// Contract: the padded head drafts the same distributions behind the inflated target, to rounding. New elements of the
// target's states are zero; rows and columns that read or write them are zero in the head too, gains of norms over the
// width get the factor that inflate.h derives, and a head's decoder layers grow like the target's. States of the target
// that an EAGLE-3 head reads are those behind the layers where the old ones stand now. Vocabularies stay as they are:
// heads with outputs of their own cost what these do. The kind follows from the tensors: eagle (and hass), eagle3,
// medusa, hydra, mlp_speculator, redrafter; anything else is an Error of one line. Torch-free.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace foretell::formats::heads {

struct InflateHeadOptions {
  std::filesystem::path head;             // its folder
  std::filesystem::path model;            // the folder of the small model that it belongs to
  std::filesystem::path like;             // a config.json of the shape
  std::filesystem::path out_dir;          // receives config.json and the tensors
  std::optional<std::string> dtype = {};  // "float32" or "bfloat16"; without it the shape's, else the tensor's own
};
void inflate_head(const InflateHeadOptions& options);

}  // namespace foretell::formats::heads
