#include "framework/decoding/sequence.h"

#include <algorithm>

#include "framework/core/error.h"

namespace foretell::decoding {

Sequence::Sequence(const Request& request) : request_(request), tokens_(request.prompt) {
  if (request_.prompt.empty())
    fail("request {}: the prompt has no tokens; at least one is needed (a model's BOS, say)", request_.id);
  if (request_.max_new_tokens < 1)
    fail("request {}: max_new_tokens is {}, expected at least 1", request_.id, request_.max_new_tokens);
}

void Sequence::push(Token token) {
  tokens_.push_back(token);
  const bool stops =
      std::find(request_.stop_tokens.begin(), request_.stop_tokens.end(), token) != request_.stop_tokens.end();
  if (stops)
    finish_ = FinishReason::StopToken;
  else if (request_.stop_watcher && request_.stop_watcher->push(token))
    finish_ = FinishReason::StopString;
  else if (remaining() == 0)
    finish_ = FinishReason::Length;
}

Appended Sequence::append(const DraftTree& draft, const Verdict& verdict) {
  Appended out;
  for (const NodeId node : verdict.accepted) {
    if (finished()) return out;
    push(draft.node(node).token);
    ++out.accepted;
    ++out.emitted;
  }
  if (!finished()) {
    push(verdict.next);
    ++out.emitted;
  }
  return out;
}

}  // namespace foretell::decoding
