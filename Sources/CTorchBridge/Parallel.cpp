#include "Parallel.hpp"

#include <dlfcn.h>

namespace weir {

void runOnThreads(int threads, void (*body)(void *), void *data) {
  using Parallel = void (*)(void (*)(void *), void *, unsigned, unsigned);
  static const auto parallel = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  // A LibTorch of another threading library: one thread does it all.
  parallel ? parallel(body, data, static_cast<unsigned>(threads), 0) : body(data);
}

}  // namespace weir
