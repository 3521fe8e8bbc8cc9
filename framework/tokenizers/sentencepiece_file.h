// What is inside a SentencePiece model file (a protobuf message), read without the library.
//
// Contract: the library trusts its file. scan_sentencepiece() refuses what the library would read out of bounds or loop
// over: it is called first.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace foretell::tokenizers {

enum class PieceType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct SentencePieceFile {
  struct Piece {
    std::string text;
    PieceType type = PieceType::kNormal;
  };
  std::vector<Piece> pieces;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  std::string unknown_surface = " \xE2\x81\x87 ";  // what an unknown token decodes to
};

SentencePieceFile scan_sentencepiece(std::string_view bytes, const std::string& name);

}  // namespace foretell::tokenizers
