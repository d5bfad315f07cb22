#include "Scratch.hpp"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <memory>

namespace weir {

float *scratch(int64_t count) {
  struct Free {
    void operator()(float *memory) const { std::free(memory); }
  };
  thread_local std::unique_ptr<float, Free> memory;
  thread_local int64_t capacity = 0;
  if (capacity < count) {
    constexpr size_t line = 64;
    const size_t bytes = (count * sizeof(float) + line - 1) / line * line;
    memory.reset();
    capacity = 0;
    memory.reset(static_cast<float *>(std::aligned_alloc(line, bytes)));
    TORCH_CHECK(memory, "no memory for ", bytes, " bytes");
    capacity = count;
  }
  return memory.get();
}

}  // namespace weir
