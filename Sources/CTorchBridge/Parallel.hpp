// A loop whose iterations LibTorch's threads share out.
//
// at::parallel_for is compiled into its caller as an OpenMP region, and clang knows only a runtime of its own for those, whose threads would come
// on top of LibTorch's. So a region is entered as GCC's code enters it: by a call into libgomp, which LibTorch has loaded.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace weir {

// Calls `body` on up to `threads` threads at once, and returns when all are done. It must not throw.
void runOnThreads(int threads, void (*body)(void *), void *data);

// How many threads a kernel of the bridge may take on the calling thread: 1 within a parallel region.
int threadsToUse();

// Calls body(begin, end) for parts that make up 0 ..< count, on as many threads as get `grain` iterations or more. Which thread takes which part
// is left to chance.
template <class Body>
void parallelFor(int64_t count, int64_t grain, const Body &body) {
  const int64_t threads = std::min<int64_t>(threadsToUse(), (count + grain - 1) / grain);
  if (threads <= 1) {
    if (count > 0) body(int64_t{0}, count);
    return;
  }
  struct Loop {
    const Body &body;
    int64_t count, part;
    std::atomic<int64_t> next{0};
  };
  constexpr int64_t partsPerThread = 4;
  Loop loop{body, count, std::max(grain, (count + threads * partsPerThread - 1) / (threads * partsPerThread))};
  runOnThreads(
      static_cast<int>(threads),
      [](void *data) {
        auto &loop = *static_cast<Loop *>(data);
        while (true) {
          const int64_t begin = loop.next.fetch_add(loop.part, std::memory_order_relaxed);
          if (begin >= loop.count) return;
          loop.body(begin, std::min(begin + loop.part, loop.count));
        }
      },
      &loop);
}

}  // namespace weir
