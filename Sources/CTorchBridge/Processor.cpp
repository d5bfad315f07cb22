#include "Processor.hpp"

#include "include/CTorchBridge.h"

namespace weir {

#if defined(__x86_64__)
namespace {

enum class Level { baseline, v3, v4, bf16 };

Level level() {
  static const Level found = [] {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4")) return __builtin_cpu_supports("avx512bf16") ? Level::bf16 : Level::v4;
    return __builtin_cpu_supports("x86-64-v3") ? Level::v3 : Level::baseline;
  }();
  return found;
}

}  // namespace

bool holdsWholeVectors() { return level() >= Level::v4; }
bool multipliesBF16() { return level() == Level::bf16; }
#else
bool holdsWholeVectors() { return false; }
bool multipliesBF16() { return false; }
#endif

}  // namespace weir

bool wt_multiplies_bf16(void) { return weir::multipliesBF16(); }
