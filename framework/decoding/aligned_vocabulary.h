// A model whose vocabulary is another's but for padding, in that other one's ids.
//
// Contract: ids below `shared` mean the same to both. The result has `vocab` ids: logits of ids from `shared` on are
// -infinity, so they are never drawn and the distribution over the rest is the model's own, renormalised. A token that
// the model has no row for (the other one drew from its padding) is read as token 0. All else is the model's.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "framework/core/vocabulary_map.h"

namespace foretell::model {
class LanguageModel;
}  // namespace foretell::model

namespace foretell::decoding {

std::shared_ptr<const model::LanguageModel> with_aligned_vocabulary(std::shared_ptr<const model::LanguageModel> model,
                                                                    int vocab, int shared);

// A draft model in the ids of a target of `vocab`: as it is where the sizes are equal, else aligned. An Error that
// calls it `name` where the tokenizers do not agree, or where there is none to say that another size is padding.
std::shared_ptr<const model::LanguageModel> in_target_ids(std::shared_ptr<const model::LanguageModel> draft, int vocab,
                                                          const std::optional<SharedIds>& shared,
                                                          const std::string& name);

}  // namespace foretell::decoding
