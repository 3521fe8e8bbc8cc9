#include <cstdlib>  // tells whether the library is glibc
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "experiments/command_line.h"

int main(int argc, char** argv) {
#ifdef __GLIBC__
  // Every round makes and drops rows as long as the vocabulary. Handing their pages back to the system each time would cost a fault a page.
  mallopt(M_MMAP_THRESHOLD, 8 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
  return foretell::run_command_line(argc, argv);
}
