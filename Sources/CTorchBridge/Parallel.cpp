#include "Parallel.hpp"

#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

namespace weir {

namespace {

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
    std::unique_lock lock(mutex);
    current = nullptr;
    done.wait(lock, [this] { return busy == 0; });
  }

 private:
  void help() {
    std::unique_lock lock(mutex);
    while (true) {
      work.wait(lock, [this] { return current != nullptr && places > 0; });
      Parts &parts = *current;
      places -= 1;
      busy += 1;
      lock.unlock();
      parts.take();
      lock.lock();
      busy -= 1;
      if (busy == 0) done.notify_one();
    }
  }

  std::mutex mutex;
  std::condition_variable work, done;
  // The loop that is open to helpers, and how many more it takes; those at work on one.
  Parts *current = nullptr;
  int places = 0, busy = 0, threads = 0;
};

}  // namespace

void takeTogether(Parts &parts, int helpers) {
  // Never destroyed, for its threads outlive everything.
  static auto &all = *new Helpers;
  all.takeTogether(parts, helpers);
}

}  // namespace weir
