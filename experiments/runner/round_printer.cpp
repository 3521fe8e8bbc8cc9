#include "experiments/runner/round_printer.h"

#include <algorithm>

#include "experiments/util/console.h"
#include "framework/core/printable.h"

namespace foretell::runner {

std::string RoundPrinter::shown(Token token) const {
  if (!tokenizer_) return std::to_string(token);
  const std::string piece = token < tokenizer_->vocab_size() ? printable(tokenizer_->id_to_token(token)) : "";
  return piece.empty() ? fmt::format("<{}>", token) : piece;
}

std::string RoundPrinter::marked(const decoding::RoundEvent& event, NodeId node) const {
  const auto& accepted = event.view.verdict.accepted;
  const bool kept = std::find(accepted.begin(), accepted.end(), node) != accepted.end();
  const std::string token = shown(event.view.draft.node(node).token);
  if (!event.view.draft.proposed(node)) return util::painted(util::Colour::Dim, token + " (scored only)");
  return kept ? util::painted(util::Colour::Green, token + " accepted")
              : util::painted(util::Colour::Red, token + " rejected");
}

std::string RoundPrinter::own(const decoding::RoundEvent& event) const {
  const bool bonus = event.view.verdict.kind == NextKind::Bonus;
  const std::string text = fmt::format("{} {}", shown(event.view.verdict.next), bonus ? "bonus" : "correction");
  const bool cut = event.record.emitted < static_cast<int>(event.view.verdict.accepted.size()) + 1;
  return util::painted(bonus ? util::Colour::Blue : util::Colour::Yellow, text) +
         (cut ? fmt::format(" (cut: {} emitted)", event.record.emitted) : "");
}

std::string RoundPrinter::chain(const decoding::RoundEvent& event) const {
  std::string line = "  ";
  for (NodeId node = 1; node < event.view.draft.size(); ++node) line += marked(event, node) + " | ";
  return line + own(event) + "\n";
}

// Depth first, so that a path reads from top to bottom.
std::string RoundPrinter::tree(const decoding::RoundEvent& event) const {
  const DraftTree& draft = event.view.draft;
  std::string out;
  const std::function<void(NodeId)> visit = [&](NodeId parent) {
    for (NodeId node = 1; node < draft.size(); ++node) {
      if (draft.node(node).parent != parent) continue;
      out += std::string(2 * draft.depth(node), ' ') + marked(event, node) + "\n";
      visit(node);
    }
  };
  visit(kAnchor);
  return out + "  " + own(event) + "\n";
}

std::string RoundPrinter::print(const decoding::RoundEvent& event) const {
  const RoundRecord& record = event.record;
  const auto ms = [](std::int64_t ns) { return static_cast<double>(ns) * 1e-6; };
  const std::string head = fmt::format(
      "round {}: anchor {}, drafted {}, accepted {}, emitted {}; draft {:.3f} ms, score {:.3f} ms, verify {:.3f} ms, "
      "commit {:.3f} ms\n",
      event.round, shown(event.view.draft.node(kAnchor).token), record.drafted, record.accepted, record.emitted,
      ms(record.ns.draft), ms(record.ns.score), ms(record.ns.verify), ms(record.ns.commit));
  return head + (event.view.draft.is_chain() ? chain(event) : tree(event));
}

}  // namespace foretell::runner
