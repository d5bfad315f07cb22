// The insides of the convolutions and of GroupNorm compiled for processors that multiply bf16: VDPBF16PS adds two products to each sum at a time.
//
// Instructions of that kind may stand only in functions that are compiled for them, and so must everything that is inlined into these: hence all
// that follows the pragma. Nothing of it is visible to other files but the functions at the end, for what the linker shares could end up in
// code for every processor.
#include "NativeBF16.hpp"

#if defined(__x86_64__)
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstring>
#include <immintrin.h>
#include <optional>

#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,avx512bf16"))), apply_to = function)

#include "GroupNorm.hpp"
#include "Pointwise.hpp"
#include "Winograd.hpp"

namespace weir {

WEIR_INLINE void load(const NativeBFloat16 *from, Floats &to) { load(reinterpret_cast<const BFloat16 *>(from), to); }

WEIR_INLINE void store(const Floats &from, NativeBFloat16 *to) {
  __m512 numbers;
  std::memcpy(&numbers, &from, sizeof numbers);
  const __m256bh halves = _mm512_cvtneps_pbh(numbers);
  std::memcpy(to, &halves, sizeof halves);
}

template <>
struct Terms<NativeBFloat16> {
  static constexpr int64_t perStep = 2;
  using Left = __m512i;
  using Right = __m512i;

  WEIR_INLINE Left left(const NativeBFloat16 *from) {
    int32_t pair;
    std::memcpy(&pair, from, sizeof pair);
    return _mm512_set1_epi32(pair);
  }
  WEIR_INLINE void right(const NativeBFloat16 *from, Right &to) { to = _mm512_loadu_si512(from); }
  WEIR_INLINE void add(const Left &left, const Right &right, Floats &total) {
    __m512 sum;
    std::memcpy(&sum, &total, sizeof sum);
    sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(left), reinterpret_cast<__m512bh>(right));
    std::memcpy(&total, &sum, sizeof sum);
  }
};

void convolveBlockNatively(
    const winograd::Problem &p, const winograd::Data<NativeBFloat16, NativeBFloat16> &data, int64_t first, int64_t count, int64_t from,
    int64_t to, NativeBFloat16 *tiles, float *products) {
  winograd::convolveBlock(p, data, true, first, count, from, to, tiles, products);
}

void convolvePixelsNatively(
    const pointwise::Data<NativeBFloat16, NativeBFloat16> &data, int64_t first, int64_t count, int64_t from, int64_t to, float *sums,
    NativeBFloat16 *rows) {
  pointwise::convolvePixels(data, true, first, count, from, to, sums, rows);
}

void applyRowsNatively(
    const NativeBFloat16 *x, NativeBFloat16 *y, int64_t count, int64_t channels, const Coefficients &coefficients, bool silu) {
  applyRows(x, y, count, channels, coefficients, silu);
}

}  // namespace weir

#pragma clang attribute pop
#else
#include <cstdlib>

// No other processor says that it multiplies bf16.
namespace weir {

void convolveBlockNatively(
    const winograd::Problem &, const winograd::Data<NativeBFloat16, NativeBFloat16> &, int64_t, int64_t, int64_t, int64_t, NativeBFloat16 *,
    float *) {
  std::abort();
}

void convolvePixelsNatively(
    const pointwise::Data<NativeBFloat16, NativeBFloat16> &, int64_t, int64_t, int64_t, int64_t, float *, NativeBFloat16 *) {
  std::abort();
}

void applyRowsNatively(const NativeBFloat16 *, NativeBFloat16 *, int64_t, int64_t, const Coefficients &, bool) { std::abort(); }

}  // namespace weir
#endif
