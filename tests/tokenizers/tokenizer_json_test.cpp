// tokenizer.json part by part. The expected ids come from the Hugging Face tokenizers library (0.23.3) on the same
// files.
#include "framework/tokenizers/tokenizer_files.h"
#include "tests/support/catch.h"
#include "tests/tokenizers/tiny_tokenizers.h"

namespace foretell {
namespace {

using testing::Base;

struct Case {
  struct Expected {
    std::string text;
    Tokens ids;
  };
  Base base;
  const char* what;
  const char* parts;
  std::vector<Expected> expected;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {Base::kBytes,
       "ByteLevel splits words as GPT-2 does",
       R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}})",
       {
           {"hello world", {259, 264}},
           {" hello   world  ", {32, 259, 267, 264, 267}},
           {"abc'll 123abc\011\012 x", {270, 39, 257, 32, 266, 270, 9, 10, 32, 120}},
           {"\303\251!?  ", {271, 33, 63, 267}},
           {"he'S", {256, 39, 83}},
           {"123 456 !'s", {266, 32, 52, 53, 54, 32, 33, 39, 115}},
       }},
      {Base::kBytes,
       "ByteLevel adds a space",
       R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}})",
       {
           {"world", {264}},
           {" world", {264}},
       }},
      {Base::kBytes,
       "ByteLevel without its words",
       R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}})",
       {
           {"hello world", {259, 264}},
           {"abc", {270}},
       }},
      {Base::kBytes,
       "Split on digits",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\p{N}{1,2}"},"behavi)"
       R"(or":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":fa)"
       R"(lse}]}})",
       {
           {"12345abc", {265, 51, 52, 53, 270}},
       }},
      {Base::kBytes,
       "Split Removed",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[b-]"},"behavior":"Re)"
       R"(moved","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}})",
       {
           {"ab--abc-", {97, 97, 99}},
           {"--bbab", {97}},
       }},
      {Base::kBytes,
       "Split Removed inverted",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[b-]"},"behavior":"Re)"
       R"(moved","invert":true},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}})",
       {
           {"ab--abc-", {98, 45, 45, 98, 45}},
           {"--bbab", {45, 45, 98, 98, 98}},
       }},
      {Base::kBytes,
       "Split Isolated",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[b-]"},"behavior":"Is)"
       R"(olated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}})",
       {
           {"ab--abc-", {97, 98, 45, 45, 97, 98, 99, 45}},
           {"--bbab", {45, 45, 98, 98, 97, 98}},
       }},
      {Base::kBytes,
       "Split Isolated inverted",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[b-]"},"behavior":"Is)"
       R"(olated","invert":true},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}})",
       {
           {"ab--abc-", {97, 98, 45, 45, 97, 98, 99, 45}},
           {"--bbab", {45, 45, 98, 98, 97, 98}},
       }},
      {Base::kBytes,
       "Split MergedWithPrevious",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[b-]"},"behavior":"Me)"
       R"(rgedWithPrevious","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex")"
       R"(:false}]}})",
       {
           {"ab--abc-", {268, 45, 45, 268, 99, 45}},
           {"--bbab", {45, 45, 98, 98, 268}},
       }},
      {Base::kBytes,
       "Split MergedWithPrevious inverted",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[b-]"},"behavior":"Me)"
       R"(rgedWithPrevious","invert":true},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":)"
       R"(false}]}})",
       {
           {"ab--abc-", {97, 98, 45, 45, 97, 269, 45}},
           {"--bbab", {45, 45, 98, 98, 97, 98}},
       }},
      {Base::kBytes,
       "Split MergedWithNext",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[b-]"},"behavior":"Me)"
       R"(rgedWithNext","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":fal)"
       R"(se}]}})",
       {
           {"ab--abc-", {97, 98, 45, 45, 97, 269, 45}},
           {"--bbab", {45, 45, 98, 98, 97, 98}},
       }},
      {Base::kBytes,
       "Split MergedWithNext inverted",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[b-]"},"behavior":"Me)"
       R"(rgedWithNext","invert":true},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":fals)"
       R"(e}]}})",
       {
           {"ab--abc-", {268, 45, 45, 268, 99, 45}},
           {"--bbab", {45, 45, 98, 98, 268}},
       }},
      {Base::kBytes,
       "Split Contiguous",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[b-]"},"behavior":"Co)"
       R"(ntiguous","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}])"
       R"(}})",
       {
           {"ab--abc-", {97, 98, 45, 45, 97, 98, 99, 45}},
           {"--bbab", {45, 45, 98, 98, 97, 98}},
       }},
      {Base::kBytes,
       "Split Contiguous inverted",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[b-]"},"behavior":"Co)"
       R"(ntiguous","invert":true},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]})"
       R"(})",
       {
           {"ab--abc-", {97, 98, 45, 45, 97, 98, 99, 45}},
           {"--bbab", {45, 45, 98, 98, 97, 98}},
       }},
      {Base::kBytes,
       "Split on a literal",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"String":"ab"},"behavior":"Mer)"
       R"(gedWithNext","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":fals)"
       R"(e}]}})",
       {
           {"xababc", {120, 268, 270}},
       }},
      {Base::kBytes,
       "Ruby lines and classes",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"^\\s|[\\w&&[^b]]+$|\\)"
       R"(h+"},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"u)"
       R"(se_regex":false}]}})",
       {
           {"abc\012 abc\012cab zz", {270, 10, 32, 270, 10, 99, 268, 32, 122, 122}},
       }},
      {Base::kBytes,
       "ignore_merges takes whole entries",
       R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},"model":{")"
       R"(ignore_merges":true,"merges":["a b"]}})",
       {
           {"hello", {259}},
           {"abc", {270}},
           {"hellohello", {104, 101, 108, 108, 111, 104, 101, 108, 108, 111}},
       }},
      {Base::kBytes,
       "NFC",
       R"({"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,)"
       R"("use_regex":true}})",
       {
           {"e\314\201", {271}},
           {"\303\251", {271}},
       }},
      {Base::kBytes,
       "NFD and StripAccents",
       R"({"normalizer":{"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"},{"type":"Lowercase"}]},)"
       R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}})",
       {
           {"\303\211", {101}},
           {"HELLO", {259}},
       }},
      {Base::kBytes,
       "Replace, Prepend and Strip",
       R"({"normalizer":{"type":"Sequence","normalizers":[{"type":"Strip","strip_left":true,"strip_right":true},{"type":)"
       R"("Replace","pattern":{"Regex":"\\s+"},"content":"ab"},{"type":"Prepend","prepend":"he"}]},"pre_tokenizer":{"typ)"
       R"(e":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}})",
       {
           {"  ll \011 o  ", {258, 268, 111}},
           {"", {}},
       }},
      {Base::kBytes,
       "added tokens",
       R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},"added_tok)"
       R"(ens":[{"id":272,"content":"<a>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special")"
       R"(:true},{"id":273,"content":"<a><b>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"spec)"
       R"(ial":false},{"id":274,"content":"LL","single_word":false,"lstrip":true,"rstrip":false,"normalized":false,"spec)"
       R"(ial":false},{"id":275,"content":"RR","single_word":false,"lstrip":false,"rstrip":true,"normalized":false,"spec)"
       R"(ial":false},{"id":276,"content":"WW","single_word":true,"lstrip":false,"rstrip":false,"normalized":false,"spec)"
       R"(ial":false},{"id":277,"content":"   ","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"sp)"
       R"(ecial":false}]})",
       {
           {"<a><b>x<a>y", {273, 120, 272, 121}},
           {"a  LL  b", {97, 274, 32, 32, 98}},
           {"a  RR  b", {97, 267, 275, 98}},
           {"WW aWW WW!", {276, 32, 97, 87, 87, 32, 276, 33}},
           {"a    b", {97, 277, 32, 98}},
           {"RR   b", {275, 277, 98}},
           {"RR LL", {275, 274}},
       }},
      {Base::kBytes,
       "normalized added tokens",
       R"({"normalizer":{"type":"Lowercase"},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets")"
       R"(:true,"use_regex":true},"added_tokens":[{"id":272,"content":"TOK","single_word":false,"lstrip":false,"rstrip":)"
       R"(false,"normalized":true,"special":false},{"id":273,"content":"RAW","single_word":false,"lstrip":false,"rstrip")"
       R"(:false,"normalized":false,"special":false}]})",
       {
           {"tok TOK ToK raw RAW", {272, 32, 272, 32, 272, 32, 114, 97, 119, 32, 273}},
       }},
      {Base::kBytes,
       "template",
       R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},"added_tok)"
       R"(ens":[{"id":272,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special")"
       R"(:true}],"post_processor":{"type":"Sequence","processors":[{"type":"ByteLevel","add_prefix_space":false,"trim_o)"
       R"(ffsets":true,"use_regex":true},{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0})"
       R"(},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"<s>","type_id":0}}],"pair":[{"Sequence":{"id":"A")"
       R"(,"type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<s>":{"id":"<s>","ids":[272],"tokens":[)"
       R"("<s>"]}}}]}})",
       {
           {"abc", {272, 270, 272}},
           {"", {272, 272}},
       }},
      {Base::kBytes,
       "Digits and Punctuation",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"Punct)"
       R"(uation","behavior":"Contiguous"},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":)"
       R"(false}]}})",
       {
           {"12ab--ab!12", {49, 50, 268, 45, 45, 268, 33, 49, 50}},
       }},
      {Base::kBytes,
       "Whitespace",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Whitespace"},{"type":"ByteLevel","add_prefix_spa)"
       R"(ce":false,"trim_offsets":true,"use_regex":false}]}})",
       {
           {"abc  ab_1 --?! \303\251", {270, 268, 95, 49, 45, 45, 63, 33, 271}},
       }},
      {Base::kBytes,
       "CharDelimiterSplit and WhitespaceSplit",
       R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"CharDelimiterSplit","delimiter":"-"},{"type":"Wh)"
       R"(itespaceSplit"},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}})",
       {
           {"ab-ab  abc-", {268, 268, 270}},
       }},
      {Base::kMetaspace,
       "Llama-2 with a normalizer",
       R"({"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"\u2581"},{"type":"Replace","patte)"
       R"(rn":{"String":" "},"content":"\u2581"}]}})",
       {
           {"abc abcd", {264, 268, 264, 268, 263}},
           {"a  b", {264, 259, 265}},
           {"\303\251\342\202\254\012", {259, 272, 229, 133, 175, 13}},
           {"<s>ab</s> ab", {1, 264, 261, 2, 259, 264, 261}},
           {"", {}},
       }},
      {Base::kMetaspace,
       "Metaspace always",
       R"({"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"always","split":true}})",
       {
           {"abc abc", {264, 268, 264, 268}},
           {"</s>ab", {2, 264, 261}},
           {" ab", {264, 261}},
       }},
      {Base::kMetaspace,
       "Metaspace first",
       R"({"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"first","split":true}})",
       {
           {"abc abc", {264, 268, 264, 268}},
           {"</s>ab", {2, 266}},
           {"ab</s>ab", {264, 261, 2, 266}},
       }},
      {Base::kMetaspace,
       "Metaspace never",
       R"({"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"never","split":false}})",
       {
           {"abc abc", {269, 264, 268}},
           {"</s>ab", {2, 266}},
       }},
      {Base::kMetaspace,
       "Metaspace of old files",
       R"({"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581","add_prefix_space":true}})",
       {
           {"ab a", {264, 261, 264}},
       }},
      {Base::kMetaspace,
       "unknown tokens, fused",
       R"({"model":{"byte_fallback":false}})",
       {
           {"axyb", {260, 0, 261}},
       }},
      {Base::kMetaspace,
       "unknown tokens, one by one",
       R"({"model":{"byte_fallback":false,"fuse_unk":false}})",
       {
           {"axyb", {260, 0, 0, 261}},
       }},
  };
  return all;
}

TEST_CASE("Parts of a tokenizer.json encode as the reference library does") {
  for (const Case& test : cases()) {
    const auto tokenizer = parse_tokenizer_json(testing::tiny_tokenizer_json(test.base, test.parts), "tokenizer.json");
    const bool add_special = std::string_view(test.what) == "template";
    for (const auto& [text, ids] : test.expected) {
      INFO(test.what << ": " << text);
      CHECK(tokenizer->encode(text, {.add_special = add_special}) == ids);
    }
  }
}

}  // namespace
}  // namespace foretell
