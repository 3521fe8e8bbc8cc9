// Drafting by a block head: a LevelDrafter whose source is a BlockSource, with what such drafters share.
#pragma once

#include "framework/decoding/heads/block_source.h"
#include "framework/decoding/heads/head_options.h"

namespace foretell::decoding::heads {

enum class BlockKind { Plain, Selector, Markov };  // DFlash, DFlash2, DSpark

struct BlockDrafterOptions : HeadOptions {
  void declare(Parameters& p) { HeadOptions::declare(p, {}); }
};

class BlockDrafter : public bases::LevelDrafter {
 public:
  // An Error for a folder with a head of another kind. `markov`: of a random head.
  BlockDrafter(const HeadOptions& options, const BuildContext& context, BlockKind kind, double least_confidence = 0,
               model::heads::MarkovKind markov = model::heads::MarkovKind::Vanilla);
};

}  // namespace foretell::decoding::heads
