// Drafters on texts that are known in full: what they draft, and the loop's part done by hand.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "framework/api/build_context.h"
#include "framework/api/drafter.h"
#include "framework/api/policy.h"
#include "tests/support/rooms.h"

namespace foretell::testing {

// Tokens in [0, alphabet), the same for the same seed. Few tokens make many repeats.
Tokens random_text(int size, int alphabet, std::uint64_t seed);

// Runs one drafter over known texts: a round accepts what the draft has of the text, and one token more.
class DrafterBench {
 public:
  explicit DrafterBench(const std::string& drafter, int vocab = 64,
                        std::shared_ptr<const Tokenizer> tokenizer = nullptr);

  void begin(SlotId slot, const Tokens& prompt);
  DraftTree draft(SlotId slot, DraftBudget budget);
  DraftTree draft(SlotId slot) { return draft(slot, drafter_->limits()); }
  // Commits these tokens as what a round emitted.
  void commit(SlotId slot, const Tokens& tokens);
  void end(SlotId slot);
  Drafter& drafter() { return *drafter_; }

 private:
  struct Running {
    Request request;
    Tokens committed;
  };
  int vocab_;
  std::unique_ptr<Drafter> drafter_;
  std::unique_ptr<DraftPolicy> policy_;
  std::map<SlotId, Running> running_;
};

// The drafted chain; a failure of the test if the draft is a tree.
Tokens chain_of(const DraftTree& draft);

}  // namespace foretell::testing
