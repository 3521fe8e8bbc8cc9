// The post-processors of a tokenizer.json, for one text: which special tokens stand before and behind it.
#pragma once

#include <optional>
#include <vector>

#include "framework/core/types.h"
#include "framework/io/json_reader.h"

namespace foretell::tokenizers::stages {

class PostProcessor {
 public:
  PostProcessor() = default;
  explicit PostProcessor(const io::JsonView& json) { read(json); }
  Tokens apply(Tokens ids) const;
  std::optional<Token> largest_id() const;  // of the special tokens that it adds

 private:
  using Template = std::vector<std::optional<Token>>;  // nullopt stands for the text

  void read(const io::JsonView& json);
  static Template read_template(const io::JsonView& json);
  static void append_special(const io::JsonView& json, const std::string& name, Template& out);

  std::vector<Template> templates_;
};

}  // namespace foretell::tokenizers::stages
