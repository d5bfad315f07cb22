// Products of small matrices, the inside of the bridge's own convolutions.
#pragma once

#include "Vectors.hpp"

namespace weir {

// Rows that are taken together where there are enough: their sums fill the registers.
constexpr int together = 6;

// Adds to `sums` the products of `rows` rows of `left` with `lanes` columns of `right`, over `count` terms. `isFirst`: `sums` holds nothing yet.
// `fetches`: what follows `right` in memory, as much as it is itself, comes into the cache meanwhile.
template <int rows, bool isFirst, bool fetches>
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
    if constexpr (fetches) __builtin_prefetch(right + (count + term) * rightTerm);
    for (int row = 0; row < rows; row++) total[row] += left[row * leftRow + term * leftTerm] * factor;
  }
  for (int row = 0; row < rows; row++) store(total[row], sums + row * sumsRow);
}

// The same of any number of rows. A row's sums do not depend on those it is taken with.
template <bool isFirst, bool fetches>
WEIR_INLINE void multiplyRows(
    int64_t rows, const float *left, int64_t leftRow, int64_t leftTerm, const float *right, int64_t rightTerm, int64_t count, float *sums,
    int64_t sumsRow) {
  int64_t row = 0;
  if (fetches && rows >= together) {
    multiply<together, isFirst, true>(left, leftRow, leftTerm, right, rightTerm, count, sums, sumsRow);
    row = together;
  }
  for (; row + together <= rows; row += together) {
    multiply<together, isFirst, false>(left + row * leftRow, leftRow, leftTerm, right, rightTerm, count, sums + row * sumsRow, sumsRow);
  }
  left += row * leftRow;
  sums += row * sumsRow;
  switch (rows - row) {
    case 5: return multiply<5, isFirst, fetches>(left, leftRow, leftTerm, right, rightTerm, count, sums, sumsRow);
    case 4: return multiply<4, isFirst, fetches>(left, leftRow, leftTerm, right, rightTerm, count, sums, sumsRow);
    case 3: return multiply<3, isFirst, fetches>(left, leftRow, leftTerm, right, rightTerm, count, sums, sumsRow);
    case 2: return multiply<2, isFirst, fetches>(left, leftRow, leftTerm, right, rightTerm, count, sums, sumsRow);
    case 1: return multiply<1, isFirst, fetches>(left, leftRow, leftTerm, right, rightTerm, count, sums, sumsRow);
    default: return;
  }
}

}  // namespace weir
