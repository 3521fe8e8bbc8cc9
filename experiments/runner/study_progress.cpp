#include "experiments/runner/study_progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "experiments/util/console.h"
#include "experiments/util/progress.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/core/text.h"

namespace foretell::runner {
namespace {

struct Screen {
  int rows = 24, columns = 80;
};

Screen screen() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) return {};
  return {size.ws_row, size.ws_col};
}

// A line that wraps would be two, and the next picture would start in the wrong place.
std::string cut(const std::string& line, int columns) {
  std::string out;
  int width = 0;
  for (const char c : line) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80 && ++width >= columns) break;
    out += c;
  }
  return out;
}

}  // namespace

int StudyProgress::add(const std::string& name, int runs, bool is_cell) {
  tasks_.push_back({.name = name, .runs = runs, .is_cell = is_cell});
  return static_cast<int>(tasks_.size()) - 1;
}

void StudyProgress::set_done(int task, int runs) { tasks_[task].done = runs; }

void StudyProgress::set_active(std::vector<int> tasks) {
  active_ = std::move(tasks);
  if (util::error_is_terminal()) show(true);
}

void StudyProgress::advance(int index, int runs, double seconds, double tokens) {
  Task& task = tasks_[index];
  task.done += runs;
  task.timed += runs;
  task.seconds += seconds;
  task.tokens += tokens;
  show(false);
}

void StudyProgress::finish(int index) {
  Task& task = tasks_[index];
  task.finished = true;
  task.done = task.runs;
  std::erase(active_, index);
  if (!task.is_cell) return;
  const auto finished =
      std::count_if(tasks_.begin(), tasks_.end(), [](const Task& t) { return t.is_cell && t.finished; });
  const auto cells = std::count_if(tasks_.begin(), tasks_.end(), [](const Task& t) { return t.is_cell; });
  note(fmt::format("[{}/{}] {}", finished, cells, task_line(task)));
}

void StudyProgress::set_activity(const std::string& text) {
  activity_ = text;
  if (util::error_is_terminal()) show(false);
}

void StudyProgress::note(const std::string& text) {
  erase();
  util::print_error_line(text);
  if (util::error_is_terminal()) show(true);
}

void StudyProgress::close() {
  active_.clear();
  activity_.clear();
  erase();
}

// A cell's own pace where it has one, else that of all.
double StudyProgress::seconds_left() const {
  double seconds = 0, timed = 0, left = 0;
  for (const Task& task : tasks_) {
    seconds += task.seconds;
    timed += task.timed;
  }
  for (const Task& task : tasks_) {
    const double pace = task.timed > 0 ? task.seconds / task.timed : timed > 0 ? seconds / timed : 0;
    left += pace * (task.runs - task.done);
  }
  return left;
}

std::string StudyProgress::study_line() const {
  int runs = 0, done = 0, timed = 0, cells = 0, finished = 0;
  for (const Task& task : tasks_) {
    runs += task.runs;
    done += task.done;
    timed += task.timed;
    cells += task.is_cell;
    finished += task.is_cell && task.finished;
  }
  std::string line = fmt::format("study: {} of {}, {}% of the prompts, {}", finished, counted(cells, "cell"),
                                 runs > 0 ? static_cast<int>(100.0 * done / runs) : 100,
                                 util::clock_time(static_cast<double>(since_start_.elapsed_ns()) * 1e-9));
  if (timed > 0) line += fmt::format(", {} left", util::clock_time(seconds_left()));
  return line;
}

// Numbers first: names are long, and a screen ends somewhere.
std::string StudyProgress::task_line(const Task& task) const {
  const std::string time = task.timed > 0 ? util::clock_time(task.seconds) : "-";
  const std::string speed =
      task.seconds > 0 && task.tokens > 0 ? fmt::format("{:.1f} tokens/s", task.tokens / task.seconds) : "";
  return fmt::format("{:>5}/{} {:>6} {:>15}  {}", task.done, counted(task.runs, "prompt"), time, speed, task.name);
}

void StudyProgress::erase() {
  if (lines_ == 0) return;
  util::print_error_styled(fmt::format("\033[{}A\r\033[J", lines_));
  lines_ = 0;
}

void StudyProgress::show(bool now) {
  const bool live = util::error_is_terminal();
  const double pause = live ? 0.2 : 10.0;
  if (!now && static_cast<double>(since_shown_.elapsed_ns()) * 1e-9 < pause) return;
  since_shown_ = Stopwatch();
  if (!live) return util::print_error(study_line() + "\n");
  const Screen size = screen();
  const auto room = static_cast<std::size_t>(std::max(1, size.rows - 4));
  std::string text;
  int lines = 0;
  const auto add = [&](const std::string& line) {
    text += cut(printable(line), size.columns) + "\n";
    ++lines;
  };
  for (std::size_t i = 0; i < std::min(active_.size(), room); ++i) add("  " + task_line(tasks_[active_[i]]));
  if (active_.size() > room) add(fmt::format("  and {} more", active_.size() - room));
  if (!activity_.empty()) add("  " + activity_);
  add(study_line());
  erase();
  util::print_error(text);
  lines_ = lines;
}

}  // namespace foretell::runner
