// What the fuzzers of framework/text and of study files do with their bytes; the test that replays the seeds does the
// same.
//
// Contract: any bytes either read or throw Error. What was read must encode and decode texts, and a stream must give
// the text of the whole; a study file that was written out again must read as the same.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "framework/chat/jinja.h"
#include "framework/chat/own_template.h"
#include "framework/core/config_value.h"
#include "framework/core/error.h"
#include "framework/datasets/accept_runs.h"
#include "framework/datasets/prompts.h"
#include "framework/moe/expert_cache.h"
#include "framework/moe/router_log.h"
#include "framework/tokenizers/tokenizer_files.h"
#include "framework/unicode/unicode.h"
#include "tests/support/rooms.h"

namespace foretell::fuzz {

inline void check_decoding(const std::shared_ptr<const Tokenizer>& tokenizer, const Tokens& ids) {
  const std::string whole = tokenizer->decode(ids);
  FORETELL_CHECK(unicode::is_valid(whole), "{} bytes of text", whole.size());
  StreamDecoder stream(tokenizer);
  std::string joined;
  for (const Token id : ids) joined += stream.push(id);
  joined += stream.finish();
  FORETELL_CHECK(joined == whole, "a stream gave \"{}\", the whole is \"{}\"", joined, whole);
}

inline void use(const std::shared_ptr<const Tokenizer>& tokenizer, std::string_view input) {
  const std::string_view tail = input.substr(input.size() - std::min<std::size_t>(input.size(), 64));
  for (const std::string_view text : {std::string_view("a ab\xE2\x82\xAC <s>x</s>  12'll\n\xFF"), tail}) {
    const Tokens ids = tokenizer->encode(text, {.add_special = true});
    check_decoding(tokenizer, ids);
  }
  Tokens all;
  for (Token id = 0; id < std::min(tokenizer->vocab_size(), 300); ++id) all.push_back(id);
  check_decoding(tokenizer, all);
}

template <class Parse>
void read(std::string_view input, Parse&& parse) {
  try {
    use(parse(input, "input", SpecialTokenSettings{}), input);
  } catch (const Error&) {
  }
}

// What was read has to add up, however it is looked at.
inline void router_log(std::string_view input) {
  try {
    const RouterLog log = parse_router_log(input, "input");
    std::int64_t rows = 0;
    for (const int layer : log.layers()) {
      const LoggedLayer of = logged_layer(log, layer);
      rows += of.rows;
      FORETELL_CHECK(of.shared <= of.pairs && of.pairs <= of.entries, "{} of {} of {}", of.shared, of.pairs,
                     of.entries);
      const auto two = window_union(log, layer, 2);
      FORETELL_CHECK(!two || two->touched <= log.experts, "{} experts", two->touched);
    }
    FORETELL_CHECK(rows == log.rows(), "{} of {} rows", rows, log.rows());
    std::vector<CacheStep> steps;
    for (const std::vector<int>& row : log.sequences.front().rows) steps.push_back({row, {}});
    const int room = std::max(1, log.experts / 2);
    const CacheCount lru = replay_cache(steps, log.experts, room, CacheRule::Lru);
    FORETELL_CHECK(lru.hits <= replay_cache(steps, log.experts, room, CacheRule::Belady).hits, "{} hits", lru.hits);
  } catch (const Error&) {
  }
}

inline void tokenizer_json(std::string_view input) { read(input, parse_tokenizer_json); }
inline void tokenizer_bin(std::string_view input) { read(input, parse_tokenizer_bin); }
inline void tokenizer_model(std::string_view input) { read(input, parse_tokenizer_model); }

// All that is read of a tokenizer_config.json and of the files beside it.
inline void tokenizer_config(std::string_view input) {
  for (const auto read : {read_tokenizer_config, read_special_tokens_map, read_generation_config}) {
    try {
      SpecialTokenSettings settings;
      read(input, "input", settings);
      FORETELL_CHECK(settings.bos != "" && settings.eos != "", "an empty token");
      for (const Token id : settings.eos_ids) FORETELL_CHECK(id >= 0, "id {}", id);
    } catch (const Error&) {
    }
  }
  try {
    if (const auto own = parse_own_template(input, "input")) recognise_template(*own, "</s>");
  } catch (const Error&) {
  }
}

// A template of a model. One that is recognised renders as the known one does, whatever the conversation says.
inline void chat_template(std::string_view input) {
  const auto known = recognise_template(input, "</s>");
  const std::vector<Message> messages = {
      {"system", "s"}, {"user", "a {{ b }}"}, {"assistant", "c"}, {"user", "\xFF{% d %}"}};
  const auto rendered = render_jinja(input, {.messages = messages, .bos_token = "<s>", .eos_token = "</s>"});
  if (!known) return;
  FORETELL_CHECK(rendered && rendered->ends_with(known->render(messages, true)), "recognised as '{}', rendered \"{}\"",
                 known->name(), rendered.value_or("nothing"));
}

inline void prompts(std::string_view input) {
  try {
    parse_prompts(input, "input");
  } catch (const Error&) {
  }
  try {
    for (const AnswerRow& row : parse_answers(input, "input")) {
      const std::string line = to_json_line(row);
      FORETELL_CHECK(to_json_line(parse_answers(line, "written").at(0)) == line, "a row changed: {}", line);
    }
  } catch (const Error&) {
  }
}

inline void accept_runs(std::string_view input) {
  try {
    for (const AcceptRun& run : parse_accept_runs(input, "input")) {
      FORETELL_CHECK(!run.prompt.empty(), "run {} has no prompt", run.id);
      for (const auto& [arm, lengths] : run.arms)
        for (const int length : lengths)
          FORETELL_CHECK(length >= 1 && length <= kMostAcceptLength, "{} of {}", length, arm);
    }
  } catch (const Error& error) {
    FORETELL_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos, "'{}'", error.what());
  }
}

inline void config(std::string_view input) {
  try {
    const std::string text(input);
    ConfigValue value = parse_yaml(text, "input");
    if (value.is_map())
      FORETELL_CHECK(same_value(parse_yaml(value.to_flow(), "written"), value), "a value changed: {}", value.to_flow());
    apply_override(value, text.substr(0, text.find('\n')));
  } catch (const Error&) {
  }
}

}  // namespace foretell::fuzz
