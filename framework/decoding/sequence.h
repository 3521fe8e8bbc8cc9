// The committed tokens of one request, and the only place that knows when to stop.
//
// Contract: append() takes a verdict's tokens one by one and stops at a stop token (which is emitted), at a stop
// string, at max_new_tokens and at the end of the context; what comes after is dropped.
#pragma once

#include "framework/api/request.h"

namespace foretell::decoding {

struct Appended {
  int accepted = 0;  // drafted tokens that were emitted
  int emitted = 0;
};

class Sequence {
 public:
  explicit Sequence(const Request& request);

  const Request& request() const { return request_; }
  TokenSpan committed() const { return tokens_; }
  TokenSpan generated() const { return TokenSpan(tokens_).subspan(request_.prompt.size()); }
  int remaining() const { return request_.max_new_tokens - static_cast<int>(generated().size()); }
  bool finished() const { return finish_.has_value(); }
  FinishReason finish() const { return *finish_; }

  Appended append(const DraftTree& draft, const Verdict& verdict);
  // The context has no position left for another token.
  void end_of_context() {
    if (!finish_) finish_ = FinishReason::Context;
  }

 private:
  void push(Token token);

  Request request_;
  Tokens tokens_;
  std::optional<FinishReason> finish_;
};

}  // namespace foretell::decoding
