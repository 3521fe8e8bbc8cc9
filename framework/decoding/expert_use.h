// Which experts the rows of one sequence used in a forward, as its round is recorded.
//
// Contract: pure. Rows that are computed for what is owed from earlier rounds count like all others: their experts are
// read, too.
#pragma once

#include <span>
#include <vector>

#include "framework/api/round.h"
#include "framework/model/language_model.h"

namespace foretell::decoding {

// Of the forward's rows [first, first + parents.size()). `parents`: by row, from 0, the row that it follows (its own
// number or a later one: none of these). None where the forward was not traced or has no experts.
std::optional<ExpertUse> expert_use(const model::ForwardResult& result, int num_experts, int sequences, int first,
                                    std::span<const NodeId> parents);

}  // namespace foretell::decoding
