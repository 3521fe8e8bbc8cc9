// The suffix automaton of a growing text (Blumer et al. 1985), with what drafting needs at each state.
//
// Contract: append() costs amortised O(1). A state stands for all strings that end at the same places of the text;
// length() is that of the longest of them, link() leads to the longest shorter suffix that ends at further places.
// State 0 is the empty string. At most two states and three edges a token. Documents are kept apart by end_document():
// nothing that is found reaches over it.
#pragma once

#include <optional>
#include <vector>

#include "framework/core/flat_map.h"
#include "framework/core/types.h"

namespace foretell::drafters {

class SuffixAutomaton {
 public:
  using State = std::int32_t;
  static constexpr State kRoot = 0;
  struct Edge {
    Token token;
    State to;
  };

  SuffixAutomaton();
  void append(Token token);
  void end_document();

  // The longest suffix of the text that also ends at an earlier place: what is behind the newest state's link.
  State longest_repeat() const { return states_[last_].link; }
  int length(State state) const { return states_[state].length; }
  State link(State state) const { return states_[state].link; }
  int first_end(State state) const {
    return states_[state].first_end;
  }  // position of the last token of the first occurrence
  std::optional<State> next(State state, Token token) const;

  int size() const { return static_cast<int>(text_.size()); }
  // A token of the text, none at the end of a document.
  std::optional<Token> token(int position) const;

  // How often a state's strings occur, and the edges that leave it, most frequent first. Only after count(), and until
  // the next append().
  void count();
  int occurrences(State state) const { return counts_[state]; }
  std::vector<Edge> frequent_edges(State state, int at_most) const;

 private:
  struct StateData {
    int length = 0;
    State link = kRoot;
    int first_end = 0;
    int first_edge = kNoEdge;
  };
  struct ListedEdge {
    Edge edge;
    int next;
  };
  static constexpr int kNoEdge = -1;
  static constexpr Token kEndOfDocument = -1;  // no token: no query finds it
  static std::uint64_t key(State state, Token token) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(state)) << 32 | static_cast<std::uint32_t>(token);
  }

  void push(Token symbol);
  // The edge of that symbol; added, to `to`, where there is none.
  std::pair<int, bool> edge_or_add(State from, Token symbol, State to);
  State split(State from, Token symbol, State to);

  Tokens text_;
  std::vector<StateData> states_;
  std::vector<ListedEdge> edges_;
  FlatMap<int> edge_of_;
  State last_ = kRoot;
  std::vector<int> counts_;
};

}  // namespace foretell::drafters
