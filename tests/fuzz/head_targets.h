// What the fuzzers of heads' files do with their bytes; the tests that replay the seeds do the same.
//
// Contract: any bytes either read or throw Error. What was read fits the model that it was read for.
#pragma once

#include <span>
#include <string>

#include "framework/core/error.h"
#include "framework/exits/layer_sets.h"
#include "framework/exits/probe_file.h"
#include "framework/formats/exit_heads.h"
#include "framework/formats/heads/draft_vocabulary.h"
#include "framework/formats/heads/eagle3_config.h"
#include "framework/formats/heads/mlp_speculator_config.h"
#include "tests/support/rooms.h"

namespace foretell::fuzz {

inline void read_exit_heads(std::span<const std::byte> bytes, const std::string& name) {
  const auto file = formats::SafetensorsFile::parse(bytes, name);
  const formats::ExitHeadShape shape{.num_layers = 4, .hidden = 2, .vocab = 3};
  for (const auto& [layer, head] : formats::exit_head_tensors(file.tensors(), shape, name)) {
    FORETELL_CHECK(layer >= 1 && layer < shape.num_layers && (head.weight || head.up), "layer {}", layer);
    if (head.up)
      FORETELL_CHECK(head.down && head.up->shape.at(1) == shape.hidden && head.down->shape.at(0) == shape.hidden,
                     "an MLP behind layer {}", layer);
    if (!head.weight) continue;
    const std::int64_t outputs = head.translator ? shape.hidden : shape.vocab;
    const std::size_t numbers = static_cast<std::size_t>(outputs * shape.hidden);
    FORETELL_CHECK(head.weight->bytes.size() == numbers * formats::bytes_of(head.weight->type), "{} bytes",
                   head.weight->bytes.size());
    if (head.bias)
      FORETELL_CHECK(head.bias->bytes.size() == static_cast<std::size_t>(outputs) * formats::bytes_of(head.bias->type),
                     "{} bytes of a bias", head.bias->bytes.size());
  }
}

// config.json of an EAGLE-3 head; what was read is read again from what is written of it.
inline void read_eagle3_config(const std::string& text, const std::string& name) {
  const formats::heads::Eagle3Config config = formats::heads::parse_eagle3_config(text, name);
  FORETELL_CHECK(config.draft_vocab > 0 && config.target_hidden > 0, "{} of {}", config.draft_vocab,
                 config.target_hidden);
  const std::string written = formats::heads::eagle3_config_json(config);
  const formats::heads::Eagle3Config again = formats::heads::parse_eagle3_config(written, name);
  FORETELL_CHECK(again.states == config.states && again.draft_vocab == config.draft_vocab &&
                     again.fc_norm == config.fc_norm && again.norm_output == config.norm_output,
                 "another config: {}", written);
}

inline void read_mlp_speculator_config(const std::string& text, const std::string& name) {
  const auto config = formats::heads::parse_mlp_speculator_config(text, name);
  const auto again =
      formats::heads::parse_mlp_speculator_config(formats::heads::mlp_speculator_config_json(config), name);
  FORETELL_CHECK(config.predict > 0 && config.inner > 0 && again.inner == config.inner, "a width of {}", config.inner);
}

// d2t and t2d for 3 of 8 tokens.
inline void read_draft_vocabulary(std::span<const std::byte> bytes, const std::string& name) {
  const auto file = formats::SafetensorsFile::parse(bytes, name);
  for (const Token id : formats::heads::draft_vocabulary(file.tensors(), 3, 8, name))
    FORETELL_CHECK(id >= 0 && id < 8, "token {}", id);
}

// The same bytes as probes, as predictors and, as text, as sets of sublayers.
inline void read_exit_files(std::span<const std::byte> bytes, const std::string& name) {
  const auto tried = [](const auto& read) {
    try {
      read();
    } catch (const Error&) {
    }
  };
  tried([&] {
    const exits::ProbeFile probes = exits::parse_probes(formats::SafetensorsFile::parse(bytes, name).tensors(), name);
    FORETELL_CHECK(probes.width() > 0, "a probe of {}", probes.width());
  });
  tried([&] {
    for (const auto& [layer, made] :
         exits::parse_predictors(formats::SafetensorsFile::parse(bytes, name).tensors(), name))
      FORETELL_CHECK(layer > 0 && made.up.size() == static_cast<std::size_t>(made.inner) * made.features, "layer {}",
                     layer);
  });
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const exits::SkippedSublayers set = exits::layer_set(parse_yaml(text, name), "a", 8, name);
  for (const int layer : set.attention) FORETELL_CHECK(layer >= 0 && layer < 8, "layer {}", layer);
}

}  // namespace foretell::fuzz
