// The pre-tokenizers of a tokenizer.json: cut text into the pieces that the model sees one at a time.
//
// Contract: text is valid UTF-8. Pieces is one buffer and ranges of it in rising order, never empty; a step narrows the
// ranges or rewrites the buffer. The names and settings are those of the Hugging Face format. How long a text may
// become: growth_limit.h.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "framework/io/json_reader.h"
#include "framework/unicode/regex.h"

namespace foretell::tokenizers::stages {

struct Pieces {
  std::string text;
  std::vector<unicode::TextRange> ranges;
  bool at_start = false;  // text[0] is the start of what encode() was given

  std::string_view view(unicode::TextRange range) const {
    return std::string_view(text).substr(range.begin, range.end - range.begin);
  }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces) const = 0;
};

std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const io::JsonView& json);

// What becomes of the parts of a text that match a pattern.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

SplitBehavior read_split_behavior(const io::JsonView& json);

// Appends the pieces of `part`, a range of a longer text: `matches` are ranges of that text inside `part`, in order.
// With `invert`, what lies between the matches counts as matched.
struct SplitRule {
  SplitBehavior behavior;
  bool invert = false;
};
void split_range(unicode::TextRange part, const std::vector<unicode::TextRange>& matches, SplitRule rule,
                 std::vector<unicode::TextRange>& out);

}  // namespace foretell::tokenizers::stages
