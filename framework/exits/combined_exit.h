// An exit policy that is made of others.
//
// Contract: each member is asked at its own layers, about all rows that have come so far, and sees what it would see
// alone: the logits that it wants and the states of the layer that it was asked at before. All members are asked, also
// where one has settled the question, so that those with a memory miss nothing. Includes no LibTorch.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "framework/api/build_context.h"
#include "framework/api/exit_policy.h"

namespace foretell::exits {

class CombinedExit : public ExitPolicy {
 public:
  enum class Leave { IfAll, IfAny };

  // `policies`: a list of exit policies, one at least, else an Error at its place.
  CombinedExit(const ConfigValue& policies, const BuildContext& context, Leave leave);

  std::vector<int> layers(int num_layers) const override;
  ExitWants wants() const override;
  void decide(const ExitProbe& probe, std::span<char> leaves) override;
  void observe(std::span<const ExitRecord> records) override;
  bool row_independent() const override;

 private:
  struct Member {
    std::unique_ptr<ExitPolicy> policy = {};
    ExitWants wants = {};
    std::vector<int> layers = {};
    std::map<int, std::vector<float>> states = {};  // by row, of the layer asked before
  };

  std::vector<char> ask(Member& member, const ExitProbe& probe) const;
  std::vector<float> logits_for(const Member& member, const ExitProbe& probe) const;

  mutable std::vector<Member> members_;  // their layers are those of the model that layers() was last asked about
  Leave leave_;
};

}  // namespace foretell::exits
