#include "framework/decoding/heads/block_drafter.h"

#include "framework/core/error.h"

namespace foretell::decoding::heads {
namespace {

using model::heads::BlockConfig;
using model::heads::BlockHead;
using model::heads::MarkovKind;

const char* name_of(BlockKind kind) {
  switch (kind) {
    case BlockKind::Plain: return "dflash";
    case BlockKind::Selector: return "dflash2";
    case BlockKind::Markov: return "dspark";
  }
  return "";
}

BlockKind kind_of(const BlockConfig& config) {
  if (config.selector_rank > 0 || config.conv_group > 0) return BlockKind::Selector;
  return config.markov != MarkovKind::None || config.confidence ? BlockKind::Markov : BlockKind::Plain;
}

// The root's slot speaks, whose residual stream starts as the root's embedding: so a target with random weights agrees
// with it now and then.
BlockConfig random_config(BlockKind kind, MarkovKind markov, const formats::ModelConfig& target) {
  BlockConfig config = model::heads::new_block_config({.layers = 1, .block_size = 4, .from_anchor = true}, target);
  if (kind == BlockKind::Selector) {
    config.conv_group = 1;
    config.conv_kernel = 2;
    config.selector_rank = 8;
    config.selector_top_k = 8;
  }
  if (kind == BlockKind::Markov) {
    config.markov = markov;
    config.markov_rank = 8;
    config.confidence = config.confidence_reads_markov = true;
  }
  return config;
}

std::shared_ptr<const BlockHead> block_of(const HeadOptions& options, const BuildContext& context, BlockKind kind,
                                          MarkovKind markov) {
  auto head = head_of<BlockHead>(options, context, name_of(kind), [&](std::uint64_t seed, const auto& target) {
    return BlockHead::random(random_config(kind, markov, target->config()), seed, target);
  });
  if (const BlockKind found = kind_of(head->config()); found != kind)
    fail_at(options.where, "{}: this is a head of the drafter '{}'", options.head, name_of(found));
  return head;
}

}  // namespace

BlockDrafter::BlockDrafter(const HeadOptions& options, const BuildContext& context, BlockKind kind,
                           double least_confidence, MarkovKind markov)
    : bases::LevelDrafter(options.draft,
                          std::make_unique<BlockSource>(block_of(options, context, kind, markov), least_confidence),
                          context) {}

}  // namespace foretell::decoding::heads
