// One round as people read it: the debugger of a new strategy.
//
// Contract: a chain is one line of tokens; a tree has one line a node, indented by depth. Every drafted token is marked accepted or rejected, the
// target's own token correction or bonus. Times are milliseconds.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "framework/decoding/decoder.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell {

class RoundPrinter {
 public:
  // Without a tokenizer tokens are shown as ids.
  explicit RoundPrinter(std::shared_ptr<const Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {}
  std::string print(const RoundEvent& event) const;

 private:
  std::string shown(Token token) const;
  std::string chain(const RoundEvent& event) const;
  std::string tree(const RoundEvent& event) const;
  std::string marked(const RoundEvent& event, NodeId node) const;
  std::string own(const RoundEvent& event) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace foretell
