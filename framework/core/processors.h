// The processors that this process may use, and how many threads they carry.
//
// Contract: what the system lets the process run on (taskset, cpusets), as it was when this was first asked: threads
// that are pinned later see less. More threads than that wait for one another at the end of every loop and make
// everything slower, a thousand of them by minutes, so they are an Error unless somebody insists.
#pragma once

#include <string_view>
#include <vector>

#include "framework/core/error.h"

namespace foretell {

const std::vector<int>& usable_processors();  // never empty

// `insist`: how to allow it, for the message.
void check_threads(int threads, bool oversubscribe, const Location& where, std::string_view insist);

}  // namespace foretell
