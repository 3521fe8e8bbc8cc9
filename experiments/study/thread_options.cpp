#include "experiments/study/thread_options.h"

#include "framework/core/processors.h"
#include "framework/kernels/worker_threads.h"

namespace foretell::study {

void ThreadOptions::declare(util::Command& command) {
  command.add("--threads", threads, "CPU threads, at most one a processor", {.type = "N", .min = 1});
  add_oversubscribe_flag(command, oversubscribe);
}

void ThreadOptions::apply() const {
  if (threads) check_threads(*threads, oversubscribe, {"--threads", {}}, "--oversubscribe");
  kernels::use_threads(threads);
}

void add_oversubscribe_flag(util::Command& command, bool& oversubscribe) {
  command.add_flag("--oversubscribe", oversubscribe, "allow more threads than there are processors");
}

std::vector<std::string> with_oversubscribe(std::vector<std::string> overrides, bool oversubscribe) {
  if (oversubscribe) overrides.push_back("run.oversubscribe=true");
  return overrides;
}

}  // namespace foretell::study
