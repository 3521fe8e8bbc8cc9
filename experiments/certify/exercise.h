// What the checks made a pipeline do. A check that never drafted, never accepted or never rejected a token proves
// nothing about a verifier, and one in which a member of a composition had no part proves nothing about that member.
//
// Contract: counts are of tokens that were proposed and verified. Rejected are the proposals at the node where a
// verdict ended although there were some; what lies below them, and siblings of accepted nodes, count as drafted only.
// A verdict that a stop token cut short counts no rejection.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "framework/api/build_context.h"
#include "framework/decoding/decoder.h"

namespace foretell::certify {

// A drafter that another one is made of.
struct MemberCounts {
  std::string name;
  MemberUse use = MemberUse::Proposed;
  std::int64_t rounds = 0;  // in which its proposals were scored; where it is verified inside, its drafts
  std::int64_t accepted = 0, rejected = 0;  // of its tokens, where it is verified inside
};

struct Exercise {
  std::int64_t drafted = 0, accepted = 0, rejected = 0;
  int deepest = 0;  // most tokens that one round accepted
  std::vector<MemberCounts> members = {};

  Exercise& operator+=(const Exercise& other);
  // What is 0 and must not be, in words; empty if nothing is. A lossy verifier may well accept everything, and so leave
  // no turn to a member.
  std::string missing(bool lossless) const;
};

// Watches the members of the pipeline that was built last.
class MemberWatch {
 public:
  // Forgets the members before; drafters that are built with the context from now on are watched.
  void attach(BuildContext& context);
  void count(const decoding::RoundEvent& event, Exercise& exercise) const;

 private:
  struct Member;
  class Watched;
  std::vector<std::shared_ptr<Member>> members_;
};

}  // namespace foretell::certify
