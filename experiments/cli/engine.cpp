// The engine of `foretell`: all commands, with LibTorch. `foretell` becomes it for those that run a model (main.cpp).

#include <cstdlib>  // tells whether the library is glibc
#ifdef __GLIBC__
#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <string_view>
#include <typeinfo>

#include "experiments/cli/command_line.h"
#include "experiments/cli/commands/bench/commands.h"
#include "experiments/cli/commands/estimate/commands.h"
#include "experiments/cli/commands/inspect/commands.h"
#include "experiments/cli/commands/models/commands.h"
#include "experiments/cli/commands/prepare/commands.h"
#include "experiments/cli/commands/strategies/commands.h"
#include "experiments/cli/commands/strategies/described.h"
#include "experiments/cli/commands/studies/commands.h"
#include "experiments/cli/commands/studies/run.h"
#include "framework/training/learner.h"

// What has to be done after the libraries are mapped and before any of them has run a line, so only with calls of the
// system. Sanitizers must come first in a process, and do without.
#if defined(__GLIBC__) && defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
namespace {

// What LibTorch's libraries allocate in their initialisers is 60 MiB, and where they get none they abort without saying
// why; threads, compiled kernels and a small model are the rest. docs/reference/performance.md and
// tests/cli/hostile_input_test.py name the limit that this comes to.
constexpr std::size_t kAddressSpace = 128u << 20;

std::size_t length_of(const char* text) {
  std::size_t length = 0;
  while (text[length] != 0) ++length;
  return length;
}

void say(const char* text) {
  const ssize_t ignored = ::write(STDERR_FILENO, text, length_of(text));
  static_cast<void>(ignored);
}

// The address space of the process in KiB, 0 where it cannot be read: the first number in statm, in pages.
unsigned long mapped_kib() {
  char text[64] = {};
  const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  const ssize_t length = file >= 0 ? ::read(file, text, sizeof text - 1) : 0;
  if (file >= 0) ::close(file);
  unsigned long pages = 0;
  for (ssize_t i = 0; i < length && text[i] >= '0' && text[i] <= '9'; ++i)
    pages = pages * 10 + static_cast<unsigned long>(text[i] - '0');
  return pages * static_cast<unsigned long>(::sysconf(_SC_PAGESIZE)) / 1024;
}

void check_address_space() {
  void* probe =
      ::mmap(nullptr, kAddressSpace, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (probe != MAP_FAILED) {
    ::munmap(probe, kAddressSpace);
    return;
  }
  char digits[24] = {};
  char* first = digits + sizeof digits - 1;
  for (unsigned long rest = mapped_kib() + kAddressSpace / 1024; rest > 0; rest /= 10)
    *--first = static_cast<char>('0' + rest % 10);
  say("foretell: not enough memory: the program starts with ");
  say(first);
  say(" KiB of address space and needs more for models; `ulimit -v` shows the limit\n");
  ::_exit(2);
}

__attribute__((section(".preinit_array"), used)) void (*before_libraries)() = check_address_space;

}  // namespace
#endif

namespace foretell::cli {
namespace {

void add_commands(util::Command top) {
  commands::models::add_generate_command(top);
  commands::studies::add_run_command(top);
  commands::studies::add_check_command(top);
  commands::strategies::add_list_command(top);
  commands::models::add_score_command(top);
  commands::prepare::add_tokenize_command(top);
  commands::inspect::add_merge_command(top);
  commands::studies::add_table_command(top, commands::studies::run_study_file);
  commands::models::add_make_random_command(top);
  commands::inspect::add_import_command(top);
  commands::prepare::add_inflate_command(top);
  commands::strategies::add_new_command(top);
  commands::models::add_overlap_command(top);
  commands::models::add_parity_command(top);
  commands::prepare::add_tasks_command(top);
  commands::prepare::add_datastore_command(top);
  commands::models::add_train_command(top);
  commands::prepare::add_train_tokenizer_command(top);
  commands::studies::add_tree_command(top);
  commands::strategies::add_certify_command(top);
  commands::models::add_diff_command(top);
  commands::inspect::add_report_command(top);
  commands::inspect::add_compare_command(top);
  commands::inspect::add_calibrate_command(top);
  commands::inspect::add_plot_command(top);
  commands::bench::add_bench_command(top);
  commands::bench::add_profile_command(top);
  commands::estimate::add_roofline_command(top);
  commands::estimate::add_predict_command(top);
  commands::estimate::add_simulate_command(top);
  commands::studies::add_advise_command(top);
  commands::estimate::add_offload_command(top);
  commands::estimate::add_efficiency_command(top);
}

// LibTorch's own: memory that cannot be had, a device that is not there. Its message ends with a stack trace that helps
// nobody here. What it says of memory starts with a check of its own: "[enforce fail at FILE] err == 0.
// DefaultCPUAllocator: can't allocate memory: ...".
std::string message_of(const c10::Error& error) {
  std::string text = error.what_without_backtrace();
  if (const std::size_t allocator = text.find("Allocator: "); allocator != std::string::npos)
    text = "not enough memory: " + text.substr(text.find(' ', allocator) + 1);
  return text.substr(0, text.find('\n'));
}

std::optional<std::string> library_error(const std::exception& error) {
  if (const auto* torch = dynamic_cast<const c10::Error*>(&error)) return message_of(*torch);
  // oneDNN's kernels were chosen for shapes and types that it has; what they may not get is memory, which it does not
  // say.
  if (std::string_view(typeid(error).name()).find("dnnl") != std::string_view::npos)
    return fmt::format("not enough memory, as it seems: oneDNN {}", error.what());
  return std::nullopt;
}

void describe_learners() {
  for (const auto& [name, entry] : Registry<training::Learner>::instance().entries())
    commands::strategies::described_learners().push_back({name, entry.info, entry.parameters()});
}

// For the build: engine_parts.h's definitions.
int write_parts(const char* file) {
  std::ofstream out(file);
  out << "#include \"experiments/cli/engine_parts.h\"\n\nnamespace foretell::cli {\nnamespace {\n\n"
      << "constexpr CommandSummary kAll[] = {\n";
  for (const auto& [name, summary] : command_summaries({add_commands, library_error}))
    out << "    {\"" << name << "\", R\"---(" << summary << ")---\"},\n";
  out << "};\n\n}  // namespace\n\nconst std::span<const CommandSummary> kEngineCommands = kAll;\n"
      << "const char* const kEngineStrategies = R\"---(" << commands::strategies::describe_strategies()
      << ")---\";\n\n}  // namespace foretell::cli\n";
  return out.flush() ? 0 : 2;
}

}  // namespace
}  // namespace foretell::cli

int main(int argc, char** argv) {
  using namespace foretell::cli;
#ifdef __GLIBC__
  // Every round makes and drops rows as long as the vocabulary. Handing their pages back to the system each time would
  // cost a fault a page.
  mallopt(M_MMAP_THRESHOLD, 8 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
  describe_learners();
  if (argc == 3 && std::strcmp(argv[1], "--describe-parts") == 0) return write_parts(argv[2]);
  return run_command_line(argc, argv, {add_commands, library_error});
}
