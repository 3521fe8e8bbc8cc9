#include "framework/tokenizers/stages/post_processor.h"

#include <algorithm>

#include "framework/tokenizers/stages/vocab.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers::stages {
namespace {

constexpr std::size_t kMaxTemplates = 16;  // each may repeat the text

// BertProcessing and RobertaProcessing: ["[SEP]", 102].
Token read_token_pair(const io::JsonView& json) {
  if (json.size() != 2) json.refuse("expected [\"token\", id]");
  return checked_id(json.at(1).integer(), json.where(), json.at(std::size_t{0}).string());
}

}  // namespace

void PostProcessor::read(const io::JsonView& json) {
  const std::string type = json.type();
  if (type == "ByteLevel") return;  // it moves offsets only
  if (type == "TemplateProcessing") {
    templates_.push_back(read_template(json));
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    templates_.push_back({read_token_pair(json.at("cls")), std::nullopt, read_token_pair(json.at("sep"))});
  } else if (type == "Sequence") {
    const io::JsonView list = json.at("processors");
    for (std::size_t i = 0; i < list.size(); ++i) read(list.at(i));
  } else {
    json.refuse(
        fmt::format("post-processor '{}' is not supported; supported: TemplateProcessing, ByteLevel, BertProcessing, "
                    "RobertaProcessing, Sequence",
                    unicode::printable(type)));
  }
  if (templates_.size() > kMaxTemplates) json.refuse(fmt::format("more than {} templates", kMaxTemplates));
}

PostProcessor::Template PostProcessor::read_template(const io::JsonView& json) {
  Template out;
  const io::JsonView single = json.at("single");
  int texts = 0;
  for (std::size_t i = 0; i < single.size(); ++i) {
    const io::JsonView item = single.at(i);
    if (const auto special = item.find("SpecialToken")) {
      append_special(json, special->at("id").string(), out);
    } else if (const auto sequence = item.find("Sequence")) {
      if (sequence->at("id").string() != "A") sequence->refuse("a template for one text may only name sequence A");
      if (++texts > 1) sequence->refuse("a template that repeats its text is not supported");
      out.push_back(std::nullopt);
    } else {
      item.refuse("expected {\"SpecialToken\": ...} or {\"Sequence\": ...}");
    }
  }
  return out;
}

void PostProcessor::append_special(const io::JsonView& json, const std::string& name, Template& out) {
  const io::JsonView ids = json.at("special_tokens").at(name).at("ids");
  for (std::size_t i = 0; i < ids.size(); ++i) out.push_back(checked_id(ids.at(i).integer(), json.where(), name));
}

std::optional<Token> PostProcessor::largest_id() const {
  std::optional<Token> largest;
  for (const Template& pattern : templates_)
    for (const std::optional<Token>& part : pattern) largest = std::max(largest, part);  // nullopt is below every id
  return largest;
}

Tokens PostProcessor::apply(Tokens ids) const {
  for (const Template& pattern : templates_) {
    Tokens out;
    for (const std::optional<Token>& part : pattern) {
      if (part)
        out.push_back(*part);
      else
        out.insert(out.end(), ids.begin(), ids.end());
    }
    ids = std::move(out);
  }
  return ids;
}

}  // namespace foretell::tokenizers::stages
