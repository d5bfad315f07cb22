#include "Parallel.hpp"

#include <ATen/Parallel.h>

#include <dlfcn.h>

namespace weir {

int threadsToUse() { return at::in_parallel_region() ? 1 : at::get_num_threads(); }

void runOnThreads(int threads, void (*body)(void *), void *data) {
  using Parallel = void (*)(void (*)(void *), void *, unsigned, unsigned);
  static const auto parallel = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  // A LibTorch of another threading library: one thread does it all.
  parallel ? parallel(body, data, static_cast<unsigned>(threads), 0) : body(data);
}

}  // namespace weir
