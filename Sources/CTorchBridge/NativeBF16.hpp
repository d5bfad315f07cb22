// The bridge's convolutions and GroupNorm on processors that multiply bf16. To be called only where multipliesBF16().
#pragma once

#include <cstdint>

namespace weir {

struct Coefficients;

namespace winograd {
struct Problem;
template <class Element, class Number>
struct Data;
}  // namespace winograd

namespace pointwise {
template <class Element, class Number>
struct Data;
}  // namespace pointwise

// bf16 as such a processor rounds to it, in one instruction: to nearest, ties to even, but numbers too small to be normal become zero.
struct NativeBFloat16 {
  uint16_t bits;
};

void convolveBlockNatively(
    const winograd::Problem &p, const winograd::Data<NativeBFloat16, NativeBFloat16> &data, int64_t first, int64_t count, int64_t from,
    int64_t to, NativeBFloat16 *tiles, float *products);

void convolvePixelsNatively(
    const pointwise::Data<NativeBFloat16, NativeBFloat16> &data, int64_t first, int64_t count, int64_t from, int64_t to, float *sums,
    NativeBFloat16 *rows);

void applyRowsNatively(
    const NativeBFloat16 *x, NativeBFloat16 *y, int64_t count, int64_t channels, const Coefficients &coefficients, bool silu);

}  // namespace weir
