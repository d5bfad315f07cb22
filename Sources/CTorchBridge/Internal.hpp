// What the bridge's own files share: handles, and the wall where C++ exceptions become a status and a message.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "include/CTorchBridge.h"

struct wt_tensor_s {
  at::Tensor value;
};

namespace weir {

extern std::atomic<int64_t> liveHandles;

void setError(const char *message) noexcept;
// The thread count is per thread in OpenMP; this brings the calling thread up to the last wt_set_threads, or to 1 in WT_ONE_THREAD.
void adoptThreadCount();

template <class Body>
wt_status guarded(Body &&body) noexcept {
  try {
    adoptThreadCount();
    body();
    return WT_OK;
  } catch (const c10::Error &error) {
    setError(error.what_without_backtrace());
  } catch (const std::exception &error) {
    setError(error.what());
  } catch (...) {
    setError("an exception that is no std::exception");
  }
  return WT_FAILED;
}

inline wt_tensor wrap(at::Tensor value) {
  auto handle = new wt_tensor_s{std::move(value)};
  liveHandles.fetch_add(1, std::memory_order_relaxed);
  return handle;
}

inline const at::Tensor &value(wt_tensor handle) {
  TORCH_CHECK(handle != nullptr, "a tensor handle is NULL");
  return handle->value;
}

inline std::optional<at::Tensor> optional(wt_tensor handle) {
  if (handle == nullptr) return std::nullopt;
  return handle->value;
}

inline std::vector<at::Tensor> values(const wt_tensor *handles, size_t count) {
  std::vector<at::Tensor> list;
  list.reserve(count);
  for (size_t i = 0; i < count; i++) list.push_back(value(handles[i]));
  return list;
}

// What the bridge's own kernels for serving take.
inline bool isF32OrBF16(const at::Tensor &x) { return x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16; }

at::ScalarType scalarType(wt_dtype dtype);
wt_dtype dtypeOf(at::ScalarType type);
at::Device device(const char *name);

}  // namespace weir
