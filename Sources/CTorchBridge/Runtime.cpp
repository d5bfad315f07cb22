// The library itself: messages, versions, threads, devices, thread-local modes.
#include "Internal.hpp"
#include "Parallel.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/Version.h>
#include <c10/core/Allocator.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/csrc/api/include/torch/version.h>

#include <malloc.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <memory>

namespace weir {

std::atomic<int64_t> liveHandles{0};

namespace {
thread_local std::string lastError;
std::atomic<int> processThreads{0};
thread_local int threads = 0;
thread_local int oneThreadDepth = 0;
// 0: as many as LibTorch's operations.
thread_local int ownKernelThreads = 0;
}  // namespace

void setError(const char *message) noexcept {
  try {
    lastError = message;
  } catch (...) {
    lastError.clear();
  }
}

int threadsToUse() {
  if (at::in_parallel_region()) return 1;
  return ownKernelThreads > 0 ? ownKernelThreads : at::get_num_threads();
}

void adoptThreadCount() {
  static const int initial = at::get_num_threads();
  const int chosen = processThreads.load(std::memory_order_acquire);
  const int wanted = oneThreadDepth > 0 ? 1 : chosen > 0 ? chosen : initial;
  if (wanted != threads) {
    at::set_num_threads(wanted);
    threads = wanted;
  }
}

at::ScalarType scalarType(wt_dtype dtype) {
  switch (dtype) {
    case WT_F32: return at::kFloat;
    case WT_BF16: return at::kBFloat16;
    case WT_F16: return at::kHalf;
    case WT_I64: return at::kLong;
    case WT_U8: return at::kByte;
    case WT_F64: return at::kDouble;
    case WT_BOOL: return at::kBool;
  }
  TORCH_CHECK(false, "unknown element type ", static_cast<int>(dtype));
}

wt_dtype dtypeOf(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return WT_F32;
    case at::kBFloat16: return WT_BF16;
    case at::kHalf: return WT_F16;
    case at::kLong: return WT_I64;
    case at::kByte: return WT_U8;
    case at::kDouble: return WT_F64;
    case at::kBool: return WT_BOOL;
    default: TORCH_CHECK(false, "element type ", at::toString(type), " is not one of f32, bf16, f16, i64, u8, f64, bool");
  }
}

at::Device device(const char *name) {
  TORCH_CHECK(name != nullptr, "no device was named");
  const at::Device device{std::string(name)};
  if (device.is_cuda()) {
    TORCH_CHECK(
        at::hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0, "device '", name,
        "' was asked for, but there is no CUDA here: this LibTorch has no CUDA part or finds no GPU; use 'cpu', or point LIBTORCH at a "
        "CUDA build");
    TORCH_CHECK(
        device.index() < at::detail::getCUDAHooks().deviceCount(), "device '", name, "' was asked for, but there are only ",
        at::detail::getCUDAHooks().deviceCount(), " CUDA devices");
  } else {
    TORCH_CHECK(device.is_cpu(), "device '", name, "' is not 'cpu', 'cuda' or 'cuda:N'");
  }
  return device;
}

}  // namespace weir

using namespace weir;

namespace {

// LibTorch's operations of the thread that holds it run on that thread alone, the bridge's own kernels on `kernelThreads`.
struct OneThread {
  const int outer = ownKernelThreads;

  explicit OneThread(int kernelThreads) {
    oneThreadDepth += 1;
    ownKernelThreads = kernelThreads;
    adoptThreadCount();
  }
  ~OneThread() {
    oneThreadDepth -= 1;
    ownKernelThreads = outer;
  }
  OneThread(const OneThread &) = delete;
  OneThread &operator=(const OneThread &) = delete;
};

struct Autocast {
  at::DeviceType type;
  bool wasEnabled;
  at::ScalarType oldType;

  Autocast(at::DeviceType type, at::ScalarType dtype)
      : type(type), wasEnabled(at::autocast::is_autocast_enabled(type)), oldType(at::autocast::get_autocast_dtype(type)) {
    at::autocast::set_autocast_dtype(type, dtype);
    at::autocast::set_autocast_enabled(type, true);
    at::autocast::increment_nesting();
  }
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(type, wasEnabled);
    at::autocast::set_autocast_dtype(type, oldType);
  }
  Autocast(const Autocast &) = delete;
  Autocast &operator=(const Autocast &) = delete;
};

// Follows the tensors that the thread which holds it makes and frees.
struct Meter : c10::MemoryReportingInfoBase {
  int64_t live = 0, peak = 0;

  void reportMemoryUsage(void *, int64_t bytes, size_t, size_t, c10::Device) override {
    live += bytes;
    peak = std::max(peak, live);
  }
  bool memoryProfilingEnabled() const override { return true; }
};

}  // namespace

struct wt_meter_s {
  std::shared_ptr<Meter> meter = std::make_shared<Meter>();
  c10::DebugInfoGuard guard{c10::DebugInfoKind::PROFILER_STATE, meter};
};

struct wt_mode_s {
  std::optional<at::NoGradGuard> noGradients;
  std::optional<c10::InferenceMode> inference;
  std::optional<Autocast> autocast;
  std::optional<OneThread> oneThread;
};

const char *wt_last_error(void) { return lastError.c_str(); }

int64_t wt_live_handles(void) { return liveHandles.load(std::memory_order_relaxed); }

const char *wt_version(void) { return TORCH_VERSION; }

const char *wt_cpu_capability(void) {
  static const std::string capability = at::get_cpu_capability();
  return capability.c_str();
}

bool wt_cuda_available(void) {
  bool available = false;
  guarded([&] { available = at::hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0; });
  return available;
}

wt_status wt_set_threads(int32_t count) {
  return guarded([&] {
    TORCH_CHECK(count >= 1, "the thread count must be at least 1, not ", count);
    processThreads.store(count, std::memory_order_release);
    adoptThreadCount();
  });
}

int32_t wt_threads(void) {
  int32_t count = 0;
  guarded([&] { count = at::get_num_threads(); });
  return count;
}

void wt_keep_freed_memory(void) {
  // Large allocations come from the heap, not from mappings of their own, which would end with them.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  mallopt(M_TOP_PAD, 64 << 20);
  // Other threads' heaps are of 64 MiB and end when they are empty.
  mallopt(M_ARENA_MAX, 1);
}

wt_status wt_manual_seed(uint64_t seed) {
  return guarded([&] { at::manual_seed(seed); });
}

wt_status wt_mode_begin(wt_mode_kind kind, const char *autocastDevice, wt_dtype autocastType, wt_mode *out) {
  return guarded([&] {
    auto mode = std::make_unique<wt_mode_s>();
    switch (kind) {
      case WT_NO_GRADIENTS: mode->noGradients.emplace(); break;
      case WT_INFERENCE: mode->inference.emplace(); break;
      case WT_AUTOCAST: mode->autocast.emplace(device(autocastDevice).type(), scalarType(autocastType)); break;
    }
    liveHandles.fetch_add(1, std::memory_order_relaxed);
    *out = mode.release();
  });
}

wt_status wt_one_thread_begin(int32_t kernelThreads, wt_mode *out) {
  return guarded([&] {
    auto mode = std::make_unique<wt_mode_s>();
    mode->oneThread.emplace(std::max(1, kernelThreads));
    liveHandles.fetch_add(1, std::memory_order_relaxed);
    *out = mode.release();
  });
}

wt_status wt_mode_end(wt_mode mode) {
  if (mode == nullptr) return WT_OK;
  return guarded([&] {
    liveHandles.fetch_sub(1, std::memory_order_relaxed);
    delete mode;
  });
}

wt_status wt_meter_begin(wt_meter *out) {
  return guarded([&] {
    auto meter = std::make_unique<wt_meter_s>();
    liveHandles.fetch_add(1, std::memory_order_relaxed);
    *out = meter.release();
  });
}

int64_t wt_meter_end(wt_meter meter) {
  if (meter == nullptr) return 0;
  const auto peak = meter->meter->peak;
  guarded([&] {
    liveHandles.fetch_sub(1, std::memory_order_relaxed);
    delete meter;
  });
  return peak;
}
