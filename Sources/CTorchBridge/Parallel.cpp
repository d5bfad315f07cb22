#include "Parallel.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

namespace weir {

namespace {

// The loops of one pass through a network follow one another closely; to be put to sleep and woken between them takes longer than the pause.
constexpr std::chrono::microseconds patience{50};

// Looks for `isSo`, and after a while no more.
template <class Condition>
void lookOut(const Condition &isSo) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!isSo() && std::chrono::steady_clock::now() < end) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

// Threads that sleep until there is a loop to help with; as many as any loop has wanted. They live as long as the process.
class Helpers {
 public:
  void takeTogether(Parts &parts, int wanted) {
    bool isMine = false;
    {
      const std::lock_guard lock(mutex);
      // The helpers of the last loop may still be leaving it.
      if (current == nullptr && busy == 0) {
        isMine = true;
        try {
          while (threads < wanted) {
            std::thread([this] { help(); }).detach();
            threads += 1;
          }
        } catch (const std::system_error &) {
          // The system gives no more threads: those that there are must do.
        }
        current = &parts;
        places = wanted;
      }
    }
    if (isMine) wanted == 1 ? work.notify_one() : work.notify_all();
    parts.take();
    if (!isMine) return;
    {
      const std::lock_guard lock(mutex);
      current = nullptr;
      places = 0;
    }
    lookOut([this] { return busy == 0; });
    std::unique_lock lock(mutex);
    done.wait(lock, [this] { return busy == 0; });
  }

 private:
  void help() {
    std::unique_lock lock(mutex);
    while (true) {
      work.wait(lock, [this] { return places > 0; });
      Parts &parts = *current;
      places -= 1;
      busy += 1;
      lock.unlock();
      parts.take();
      lock.lock();
      busy -= 1;
      if (busy == 0) done.notify_one();
      lock.unlock();
      lookOut([this] { return places > 0; });
      lock.lock();
    }
  }

  std::mutex mutex;
  std::condition_variable work, done;
  // The loop that is open to helpers.
  Parts *current = nullptr;
  // How many more it takes, and those at work on one. Changed under the lock, looked at without it too.
  std::atomic<int> places{0}, busy{0};
  int threads = 0;
};

}  // namespace

void takeTogether(Parts &parts, int helpers) {
  // Never destroyed, for its threads outlive everything.
  static auto &all = *new Helpers;
  all.takeTogether(parts, helpers);
}

}  // namespace weir
