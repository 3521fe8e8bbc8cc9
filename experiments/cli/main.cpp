#include <cstdlib>  // tells whether the library is glibc
#ifdef __GLIBC__
#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "experiments/cli/command_line.h"

// What has to be done after the libraries are mapped and before any of them has run a line, so only with calls of the
// system. Sanitizers must come first in a process, and do without.
#if defined(__GLIBC__) && defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
namespace {

constexpr int kMostVariables = 4096;
constexpr const char* kSettings[] = {"OMP_WAIT_POLICY=", "GOMP_SPINCOUNT=", "KMP_BLOCKTIME="};

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

bool begins(const char* text, const char* with) {
  while (*with != 0)
    if (*text++ != *with++) return false;
  return true;
}

// How long threads of OpenMP spin before they sleep has to be said before its library is loaded. So the process starts
// itself once more with the setting in its environment; docs/reference/performance.md has reasons and numbers. Whoever
// has made one of these settings has decided. Where it fails, nothing has happened.
void choose_waiting(char** arguments, char** environment) {
  static char setting[] = "GOMP_SPINCOUNT=1000";
  static char* extended[kMostVariables + 2];
  static char path[4096];
  int count = 0;
  for (; environment[count] != nullptr; ++count) {
    if (count == kMostVariables) return;
    for (const char* known : kSettings)
      if (begins(environment[count], known)) return;
    extended[count] = environment[count];
  }
  extended[count] = setting;
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path - 1);
  if (length > 0) ::execve(path, arguments, extended);
}

void prepare(int, char** arguments, char** environment) {
  check_address_space();
  choose_waiting(arguments, environment);
}

__attribute__((section(".preinit_array"), used)) void (*before_libraries)(int, char**, char**) = prepare;

}  // namespace
#endif

int main(int argc, char** argv) {
#ifdef __GLIBC__
  // Every round makes and drops rows as long as the vocabulary. Handing their pages back to the system each time would
  // cost a fault a page.
  mallopt(M_MMAP_THRESHOLD, 8 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
  return foretell::cli::run_command_line(argc, argv);
}
