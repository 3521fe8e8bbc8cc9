// Work in phases on the threads of one parallel region.
//
// Contract: a phase is a number of chunks, which any thread may run in any order; a phase begins when all chunks of the
// one before are done. Each thread has a part of every phase, the same one for the same numbers, so that it finds in
// its caches what it had before; who is done with his own takes of the others'. Nobody waits for a thread that has no
// chunk: one that comes late, or never, costs its help and nothing else. A thread that has nothing to do spins for a
// bounded time and then sleeps. What a chunk throws is thrown to the caller; the other chunks may be left out then.
#pragma once

#include <functional>
#include <span>

namespace foretell::kernels {

// `first`: whether it is the thread's first chunk of this phase.
using RunChunk = std::function<void(int phase, int chunk, bool first)>;

// Chunks of each phase, fewer than 65,536, as of phases. On the calling thread alone if `threads` is 1 or the caller is
// in a parallel region already.
void run_phases(std::span<const int> chunks, int threads, const RunChunk& run);

}  // namespace foretell::kernels
