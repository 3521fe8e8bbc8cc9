// Training of a byte-level BPE tokenizer (Sennrich et al. 2016, arXiv 1508.07909, over bytes as in GPT-2).
//
// Contract: the words that merges may not cross are runs of letters, single digits, runs of other signs (each with one
// space before if there is one; not the digits) and white space. Every byte has a token, so nothing is unknown. Ids:
// the special tokens in the order given, the 256 bytes, then merges, the most frequent first. The same texts and
// settings give the same file. Merges are counted by the SentencePiece library.
#pragma once

#include <string>
#include <vector>

namespace foretell::tokenizers {

struct TokenizerTraining {
  int vocab_size = 2048;  // at most; a text with fewer different words gives fewer tokens
  std::vector<std::string> special_tokens;
};

// The content of a tokenizer.json. Error if the vocabulary is too small for the bytes and the special tokens, or the
// texts are empty.
std::string train_tokenizer(const std::vector<std::string>& texts, const TokenizerTraining& training);

}  // namespace foretell::tokenizers
