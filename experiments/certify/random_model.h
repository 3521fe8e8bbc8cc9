// Small models with random weights for checks, made in memory as far as their user sees.
//
// Contract: the text is that of a config.json. The same text and seed give the same weights, which depend on their
// names alone: a model with fewer layers is the first ones of a larger one. Files exist only while weights are made.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "framework/model/language_model.h"

namespace foretell::certify {

std::shared_ptr<const model::LanguageModel> random_model(const std::string& config, std::uint64_t seed);

}  // namespace foretell::certify
