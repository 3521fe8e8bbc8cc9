#include "framework/tokenizers/stages/pre_tokenizer.h"

namespace foretell::tokenizers::stages {
namespace {

struct Part {
  unicode::TextRange range;
  bool matched;
};

std::vector<Part> parts_of(unicode::TextRange part, const std::vector<unicode::TextRange>& matches, bool invert) {
  std::vector<Part> parts;
  std::size_t position = part.begin;
  for (const unicode::TextRange match : matches) {
    if (position != match.begin) parts.push_back({{position, match.begin}, invert});
    parts.push_back({match, !invert});
    position = match.end;
  }
  if (position != part.end) parts.push_back({{position, part.end}, invert});
  return parts;
}

// A match joins the piece before it, unless that piece ends in a match already.
std::vector<unicode::TextRange> merged_with_previous(const std::vector<Part>& parts) {
  std::vector<unicode::TextRange> out;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.matched && !previous && !out.empty())
      out.back().end = part.range.end;
    else
      out.push_back(part.range);
    previous = part.matched;
  }
  return out;
}

std::vector<unicode::TextRange> merged_with_next(const std::vector<Part>& parts) {
  std::vector<unicode::TextRange> reversed;
  bool next = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->matched && !next && !reversed.empty())
      reversed.back().begin = part->range.begin;
    else
      reversed.push_back(part->range);
    next = part->matched;
  }
  return {reversed.rbegin(), reversed.rend()};
}

std::vector<unicode::TextRange> contiguous(const std::vector<Part>& parts) {
  std::vector<unicode::TextRange> out;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.matched == previous && !out.empty())
      out.back().end = part.range.end;
    else
      out.push_back(part.range);
    previous = part.matched;
  }
  return out;
}

std::vector<unicode::TextRange> kept(const std::vector<Part>& parts, bool keep_matched) {
  std::vector<unicode::TextRange> out;
  for (const Part& part : parts)
    if (keep_matched || !part.matched) out.push_back(part.range);
  return out;
}

}  // namespace

void split_range(unicode::TextRange part, const std::vector<unicode::TextRange>& matches, SplitRule rule,
                 std::vector<unicode::TextRange>& out) {
  const std::vector<Part> parts = parts_of(part, matches, rule.invert);
  std::vector<unicode::TextRange> ranges;
  switch (rule.behavior) {
    case SplitBehavior::kRemoved: ranges = kept(parts, false); break;
    case SplitBehavior::kIsolated: ranges = kept(parts, true); break;
    case SplitBehavior::kMergedWithPrevious: ranges = merged_with_previous(parts); break;
    case SplitBehavior::kMergedWithNext: ranges = merged_with_next(parts); break;
    case SplitBehavior::kContiguous: ranges = contiguous(parts); break;
  }
  for (const unicode::TextRange range : ranges)
    if (range.begin != range.end) out.push_back(range);
}

SplitBehavior read_split_behavior(const io::JsonView& json) {
  const std::string& name = json.string();
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  json.refuse("expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

}  // namespace foretell::tokenizers::stages
