// How much of one text is in another, in order: ROUGE-L (Lin 2004, "ROUGE: a package for automatic evaluation of
// summaries").
#pragma once

#include <string_view>

namespace foretell::metrics {

// The F1 of the longest common subsequence of words: 2 L / (words of a + words of b). Words are runs of letters and
// digits without regard to case; bytes outside ASCII count as letters. 1 if neither has a word, 0 if one has none. Time
// and memory grow with the product and the sum of the lengths.
double rouge_l(std::string_view a, std::string_view b);

}  // namespace foretell::metrics
