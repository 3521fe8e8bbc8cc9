// LibTorch's threads.
//
// Contract: they are started before anything is computed, because where one cannot be started libgomp ends the process
// with a line of its own. An Error of one line says which limit was met.
#pragma once

#include <functional>
#include <optional>

namespace foretell::kernels {

// So many from now on; without a number as many as there are, LibTorch's default or what was set before.
void use_threads(std::optional<int> threads = {});

// Once on each thread of the pool, with its index.
void on_each_thread(int threads, const std::function<void(int)>& body);

}  // namespace foretell::kernels
