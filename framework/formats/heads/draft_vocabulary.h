// The reduced vocabulary of a draft head: which of the target's tokens its ids are.
//
// Contract: as EAGLE-3's files hold it (Li et al. 2025, arXiv 2503.01840). `d2t` has an offset for each id of the
// draft: the target's id is d + d2t[d]; `t2d` says of each of the target's ids whether the draft has it. A head of the
// target's own vocabulary may leave both out. Offsets that lead out of the vocabulary, two ids of one token, a t2d that
// says something else, and a smaller vocabulary without offsets are Errors of one line that names the file and the
// tensor: read as they are, such drafts would be wrong tokens, and only their acceptance would tell. Torch-free.
#pragma once

#include <string>
#include <vector>

#include "framework/core/types.h"
#include "framework/formats/safetensors.h"

namespace foretell::formats::heads {

bool is_vocabulary_tensor(std::string_view name);  // d2t, t2d

// By id of the draft the target's; empty where all ids are the target's own.
std::vector<Token> draft_vocabulary(const StoredTensors& tensors, int draft_vocab, int target_vocab,
                                    const std::string& name);

// The two tensors for a file, of ascending or any other ids.
std::vector<NewTensor> vocabulary_tensors(std::span<const Token> target_ids, int target_vocab);

}  // namespace foretell::formats::heads
