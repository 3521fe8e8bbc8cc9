// The Unigram model of a tokenizer.json (Kudo 2018, arXiv 1804.10959): of all ways to cut a piece into vocabulary
// entries, the one with the highest sum of scores.
#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "framework/core/text.h"
#include "framework/tokenizers/models/token_model.h"
#include "framework/tokenizers/stages/byte_trie.h"
#include "framework/unicode/unicode.h"

namespace foretell::tokenizers::models {
namespace {

constexpr double kUnknownPenalty = 10.0;
constexpr std::size_t kMaxEntry = 1024;  // bytes; bounds the time per character of a text

class UnigramModel : public TokenModel {
 public:
  explicit UnigramModel(const io::JsonView& json) : byte_fallback_(json.boolean_or("byte_fallback", false)) {
    read_scores(json.at("vocab"));
    if (const auto unknown = json.find("unk_id")) {
      const std::int64_t id = unknown->integer();
      if (id < 0 || id >= vocab_.size())
        unknown->refuse(fmt::format("{} is not an id of the {}", id, counted(vocab_.size(), "entry", "entries")));
      unknown_ = static_cast<Token>(id);
    }
    for (int byte = 0; byte < 256; ++byte)
      byte_tokens_.push_back(vocab_.id(byte_token(static_cast<unsigned char>(byte))));
  }

  std::string name() const override { return "Unigram"; }

  void tokenize(const tokenizers::stages::Pieces& pieces, Tokens& out) const override {
    for (const unicode::TextRange range : pieces.ranges) {
      const std::string_view text = pieces.view(range);
      for (const Cut& cut : best_cuts(text)) append(text.substr(cut.begin, cut.end - cut.begin), cut, out);
    }
  }

 private:
  struct Cut {
    std::size_t begin, end;
    bool known;
    Token id;
  };
  struct Node {
    double score = 0;
    std::size_t begin = 0;
    bool reached = false;
    bool known = true;
    Token id = 0;
  };

  void read_scores(const io::JsonView& json) {
    const Location where{fmt::format("{}: {}", json.where().to_string(), json.path()), std::nullopt};
    double lowest = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < json.size(); ++i) {
      const nlohmann::json& entry = json.raw()[i];
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
        json.at(i).refuse("expected [\"text\", score]");
      const auto& text = entry[0].get_ref<const std::string&>();
      const auto score = entry[1].get<double>();
      if (!std::isfinite(score)) json.at(i).refuse("the score is not finite");
      if (text.size() > kMaxEntry)
        json.at(i).refuse(fmt::format("an entry of {}; at most {} are taken", counted(text.size(), "byte"), kMaxEntry));
      vocab_.add(text, static_cast<std::int64_t>(i), where);
      if (!text.empty()) trie_.insert(text, static_cast<std::int32_t>(i));
      scores_.push_back(score);
      lowest = std::min(lowest, score);
    }
    unknown_score_ = lowest - kUnknownPenalty;
  }

  std::vector<Cut> best_cuts(std::string_view text) const {
    std::vector<Node> nodes(text.size() + 1);
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t next = begin + static_cast<std::size_t>(unicode::at(text, begin).bytes);
      bool has_single = false;
      trie_.walk(text, begin, [&](std::size_t end, std::int32_t id) {
        reach(nodes, {begin, end, true, id}, scores_[static_cast<std::size_t>(id)]);
        has_single = has_single || end == next;
      });
      if (!has_single) reach(nodes, {begin, next, false, 0}, unknown_score_);
      begin = next;
    }
    return cuts_of(nodes);
  }

  static void reach(std::vector<Node>& nodes, const Cut& cut, double score) {
    Node& node = nodes[cut.end];
    const double total = nodes[cut.begin].score + score;
    if (!node.reached || total > node.score) node = {total, cut.begin, true, cut.known, cut.id};
  }

  // Neighbouring unknown characters become one piece.
  std::vector<Cut> cuts_of(const std::vector<Node>& nodes) const {
    std::vector<Cut> reversed;
    for (std::size_t end = nodes.size() - 1; end > 0; end = nodes[end].begin) {
      const Node& node = nodes[end];
      const bool known = node.known && !(unknown_ && node.id == *unknown_);
      if (!known && !reversed.empty() && !reversed.back().known)
        reversed.back().begin = node.begin;
      else
        reversed.push_back({node.begin, end, known, node.id});
    }
    return {reversed.rbegin(), reversed.rend()};
  }

  void append(std::string_view text, const Cut& cut, Tokens& out) const {
    const auto id = cut.known ? std::optional(cut.id) : vocab_.id(text);
    if (id) {
      out.push_back(*id);
      return;
    }
    const auto has_byte = [this](char byte) { return byte_tokens_[static_cast<unsigned char>(byte)].has_value(); };
    if (byte_fallback_ && std::all_of(text.begin(), text.end(), has_byte)) {
      for (const char byte : text) out.push_back(*byte_tokens_[static_cast<unsigned char>(byte)]);
      return;
    }
    if (!unknown_) fail("the tokenizer has no token for \"{}\" and no unknown token", unicode::printable(text));
    out.push_back(*unknown_);
  }

  bool byte_fallback_;
  std::optional<Token> unknown_;
  double unknown_score_ = 0;
  tokenizers::stages::ByteTrie trie_;
  std::vector<double> scores_;
  std::vector<std::optional<Token>> byte_tokens_;
};

}  // namespace

std::unique_ptr<const TokenModel> make_unigram(const io::JsonView& json) {
  return std::make_unique<UnigramModel>(json);
}

}  // namespace foretell::tokenizers::models
