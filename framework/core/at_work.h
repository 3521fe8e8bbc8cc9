// What the loop is working on, for messages: of which prompts, at which step.
//
// Contract: an AtWork object says it for as long as it lives; one inside another narrows it. Each thread has its own.
// It holds references: what it was given must outlive it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace foretell {

class AtWork {
 public:
  static constexpr int kPrefill = -1;
  struct Sequence {
    std::string_view prompt;  // what a study calls it; may be empty
    int step;                 // as in rounds.jsonl, from 0
  };

  explicit AtWork(std::vector<Sequence> sequences)
      : sequences_(std::move(sequences)), outer_(std::exchange(current(), this)) {}
  ~AtWork() { current() = outer_; }
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;

  // " at step 3 of prompt q81", " at step 3 of prompt q81, step 2 of prompt q82", or nothing.
  static std::string where();

 private:
  static const AtWork*& current();

  std::vector<Sequence> sequences_;
  const AtWork* outer_;
};

}  // namespace foretell
