// The normalizers of a tokenizer.json: text in, text out, before it is cut into words.
//
// Contract: input and output are valid UTF-8; a normalizer is immutable. The names and their settings are those of the
// Hugging Face format; what is not supported (Nmt, Precompiled) is refused by name when the file is read. How long a
// text may become: growth_limit.h.
#pragma once

#include <memory>
#include <string>

#include "framework/io/json_reader.h"

namespace foretell::tokenizers::stages {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string apply(std::string text) const = 0;
};

std::unique_ptr<const Normalizer> make_normalizer(const io::JsonView& json);

}  // namespace foretell::tokenizers::stages
