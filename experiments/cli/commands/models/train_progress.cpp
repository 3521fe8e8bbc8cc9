#include "experiments/cli/commands/models/train_progress.h"

#include "experiments/util/console.h"
#include "experiments/util/progress.h"

namespace foretell::cli::commands::models {

void TrainProgressLine::show(const training::TrainProgress& progress) {
  const bool last = progress.step == progress.steps;
  const double pause = util::error_is_terminal() ? 0.1 : 10.0;
  if (shown_ && !last && static_cast<double>(since_shown_.elapsed_ns()) < pause * 1e9) return;
  shown_ = true;
  since_shown_ = Stopwatch();
  const std::string line = fmt::format("step {}/{}: loss {:.4f}, learning rate {:.2e}, {:.0f} tokens/s, {} left",
                                       progress.step, progress.steps, progress.loss, progress.learning_rate,
                                       progress.tokens_per_second, util::clock_time(progress.seconds_left));
  util::print_error_line(line, !last);
}

void TrainProgressLine::note(const std::string& text) { util::print_error_line(text); }

}  // namespace foretell::cli::commands::models
