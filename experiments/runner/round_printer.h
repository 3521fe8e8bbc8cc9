// One round as people read it: the debugger of a new strategy.
//
// Contract: a chain is one line of tokens; a tree has one line a node, indented by depth. Every drafted token is marked
// accepted or rejected, the target's own token correction or bonus. Times are milliseconds.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "framework/decoding/decoder.h"
#include "framework/tokenizers/tokenizer.h"

namespace foretell::runner {

class RoundPrinter {
 public:
  // Without a tokenizer tokens are shown as ids.
  explicit RoundPrinter(std::shared_ptr<const tokenizers::Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {}
  std::string print(const decoding::RoundEvent& event) const;

 private:
  std::string shown(Token token) const;
  std::string chain(const decoding::RoundEvent& event) const;
  std::string tree(const decoding::RoundEvent& event) const;
  std::string marked(const decoding::RoundEvent& event, NodeId node) const;
  std::string own(const decoding::RoundEvent& event) const;

  std::shared_ptr<const tokenizers::Tokenizer> tokenizer_;
};

}  // namespace foretell::runner
