// A loop whose iterations several threads share out.
//
// Not at::parallel_for: that is compiled into its caller as an OpenMP region, and clang knows only a runtime of its own for those, whose threads would
// come on top of LibTorch's. And a region waits for each of its threads, even for one that the system has not let run since; on a machine with
// more threads than cores, as several workers' are, that is most of the time. Here helpers are welcome, but nobody waits for one that has
// not begun.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

namespace weir {

// Multiplications and additions that a thread should at least get, for its start to pay: about a fifth of a millisecond.
constexpr int64_t worthwhile = 8'000'000;
// As many as can be done while one number is read from memory.
constexpr int64_t readingCost = 24;

// Parts of a loop, taken by whoever comes.
struct Parts {
  void (*const run)(const void *body, int64_t begin, int64_t end);
  const void *const body;
  const int64_t count, size;
  std::atomic<int64_t> next{0};
  std::atomic<bool> hasFailed{false};
  // Of the first part that threw, to be read when all are done.
  std::exception_ptr failure;

  // Until none is left, or one has failed.
  void take() noexcept {
    while (!hasFailed.load(std::memory_order_relaxed)) {
      const int64_t begin = next.fetch_add(size, std::memory_order_relaxed);
      if (begin >= count) return;
      try {
        run(body, begin, std::min(begin + size, count));
      } catch (...) {
        if (!hasFailed.exchange(true)) failure = std::current_exception();
      }
    }
  }
};

// Takes parts on the calling thread and on up to `helpers` others, until all are done. If another loop has the helpers, on the calling thread alone.
void takeTogether(Parts &parts, int helpers);

// How many threads a kernel of the bridge may take on the calling thread: 1 within a parallel region of LibTorch's.
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
  constexpr int64_t partsPerThread = 4;
  const int64_t size = (count + threads * partsPerThread - 1) / (threads * partsPerThread);
  Parts parts{[](const void *body, int64_t begin, int64_t end) { (*static_cast<const Body *>(body))(begin, end); }, &body, count, size};
  takeTogether(parts, static_cast<int>(threads) - 1);
  if (parts.failure) std::rethrow_exception(parts.failure);
}

}  // namespace weir
