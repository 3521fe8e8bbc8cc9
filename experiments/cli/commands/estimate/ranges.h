// What these commands take: beyond it a number is a slip, and sums of its products are none that anybody reads.
#pragma once

namespace foretell::cli::commands::estimate {

constexpr int kMostSequences = 1 << 20;
constexpr int kMostTokens = 1 << 24;  // of a prompt, or in a cache
constexpr int kMostAnswer = 1 << 20;  // tokens whose steps are added up one by one
constexpr int kMostDraftTokens = 4096;
constexpr int kMostLayers = 4096;
constexpr double kMostMicroseconds = 1e9;

}  // namespace foretell::cli::commands::estimate
