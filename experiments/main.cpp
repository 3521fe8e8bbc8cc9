#include <cstdlib>  // tells whether the library is glibc
#ifdef __GLIBC__
#include <malloc.h>
#include <unistd.h>
#endif

#include "experiments/command_line.h"

// How long threads of OpenMP spin before they sleep has to be said before its library is loaded, which is before main(). So the process starts itself
// once more with the setting in its environment, before any library has run a line, which is what makes it cheap; docs/PERFORMANCE.md has the reasons and
// the numbers. Whoever has made one of these settings has decided. Sanitizers must come first in a process, and do without.
#if defined(__GLIBC__) && defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
namespace {

constexpr int kMostVariables = 4096;
constexpr const char* kSettings[] = {"OMP_WAIT_POLICY=", "GOMP_SPINCOUNT=", "KMP_BLOCKTIME="};

bool begins(const char* text, const char* with) {
  while (*with != 0)
    if (*text++ != *with++) return false;
  return true;
}

// Where it fails, nothing has happened.
void choose_waiting(int, char** arguments, char** environment) {
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

__attribute__((section(".preinit_array"), used)) void (*before_libraries)(int, char**, char**) = choose_waiting;

}  // namespace
#endif

int main(int argc, char** argv) {
#ifdef __GLIBC__
  // Every round makes and drops rows as long as the vocabulary. Handing their pages back to the system each time would cost a fault a page.
  mallopt(M_MMAP_THRESHOLD, 8 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
  return foretell::run_command_line(argc, argv);
}
