// Products of small matrices, the inside of the bridge's own convolutions.
#pragma once

#include "Vectors.hpp"

namespace weir {

// Rows that are taken together where there are enough: their sums fill the registers.
constexpr int together = 6;

// Adds to `sums` the products of `rows` rows of `left` with `lanes` columns of `right`, over `count` terms. `isFirst`: `sums` holds nothing yet.
template <int rows, bool isFirst>
WEIR_INLINE void multiply(
    const float *left, int64_t leftRow, int64_t leftTerm, const float *right, int64_t rightTerm, int64_t count, float *sums,
    int64_t sumsRow) {
  Floats total[rows] = {};
  if constexpr (!isFirst) {
    for (int row = 0; row < rows; row++) load(sums + row * sumsRow, total[row]);
  }
  for (int64_t term = 0; term < count; term++) {
    Floats factor;
    load(right + term * rightTerm, factor);
    for (int row = 0; row < rows; row++) total[row] += left[row * leftRow + term * leftTerm] * factor;
  }
  for (int row = 0; row < rows; row++) store(total[row], sums + row * sumsRow);
}

}  // namespace weir
