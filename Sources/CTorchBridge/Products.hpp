// Products of small matrices, the inside of the bridge's own convolutions.
#pragma once

#include "Vectors.hpp"

namespace weir {

// Rows that are taken together where there are enough: with one or two vectors of columns their sums fill the registers.
constexpr int together = 6;

// Whether two vectors of columns are taken together: with `together` rows of one, a processor whose registers hold whole vectors waits for its sums.
inline bool takesPairs() {
#if defined(__x86_64__)
  static const bool does = [] {
    __builtin_cpu_init();
    return __builtin_cpu_supports("x86-64-v4") != 0;
  }();
  return does;
#else
  return false;
#endif
}

// The right side of a product, of which a vector of columns is `lanes` neighbours in memory.
struct Columns {
  const float *numbers;
  // From one term to the next, and from one vector of columns to the next.
  int64_t term, vector;

  Columns from(int64_t index) const { return {numbers + index * vector, term, vector}; }
};

// Adds to `sums` the products of `rows` rows of `left` with `vectors` vectors of columns of `right`, over `count` terms. `isFirst`: `sums` holds nothing
// yet. `fetches`: what follows `right`, as much as it is itself, comes into the cache meanwhile.
template <int rows, int vectors, bool isFirst, bool fetches>
WEIR_INLINE void multiply(
    const float *left, int64_t leftRow, int64_t leftTerm, const Columns &right, int64_t count, float *sums, int64_t sumsRow) {
  Floats total[rows][vectors] = {};
  if constexpr (!isFirst) {
    for (int row = 0; row < rows; row++) {
      for (int v = 0; v < vectors; v++) load(sums + row * sumsRow + v * lanes, total[row][v]);
    }
  }
  for (int64_t term = 0; term < count; term++) {
    Floats factor[vectors];
    for (int v = 0; v < vectors; v++) {
      const float *numbers = right.numbers + term * right.term + v * right.vector;
      load(numbers, factor[v]);
      if constexpr (fetches) __builtin_prefetch(numbers + vectors * right.vector);
    }
    for (int row = 0; row < rows; row++) {
      const float number = left[row * leftRow + term * leftTerm];
      for (int v = 0; v < vectors; v++) total[row][v] += number * factor[v];
    }
  }
  for (int row = 0; row < rows; row++) {
    for (int v = 0; v < vectors; v++) store(total[row][v], sums + row * sumsRow + v * lanes);
  }
}

// The same of any number of rows.
template <int vectors, bool isFirst, bool fetches>
WEIR_INLINE void multiplyRows(
    int64_t rows, const float *left, int64_t leftRow, int64_t leftTerm, const Columns &right, int64_t count, float *sums, int64_t sumsRow) {
  int64_t row = 0;
  if (fetches && rows >= together) {
    multiply<together, vectors, isFirst, true>(left, leftRow, leftTerm, right, count, sums, sumsRow);
    row = together;
  }
  for (; row + together <= rows; row += together) {
    multiply<together, vectors, isFirst, false>(left + row * leftRow, leftRow, leftTerm, right, count, sums + row * sumsRow, sumsRow);
  }
  left += row * leftRow;
  sums += row * sumsRow;
  switch (rows - row) {
    case 5: return multiply<5, vectors, isFirst, fetches>(left, leftRow, leftTerm, right, count, sums, sumsRow);
    case 4: return multiply<4, vectors, isFirst, fetches>(left, leftRow, leftTerm, right, count, sums, sumsRow);
    case 3: return multiply<3, vectors, isFirst, fetches>(left, leftRow, leftTerm, right, count, sums, sumsRow);
    case 2: return multiply<2, vectors, isFirst, fetches>(left, leftRow, leftTerm, right, count, sums, sumsRow);
    case 1: return multiply<1, vectors, isFirst, fetches>(left, leftRow, leftTerm, right, count, sums, sumsRow);
    default: return;
  }
}

// The same of any number of vectors of columns. A sum does not depend on those it is taken with.
template <bool isFirst, bool fetches>
WEIR_INLINE void multiplyAll(
    int64_t rows, int64_t vectors, const float *left, int64_t leftRow, int64_t leftTerm, const Columns &right, int64_t count, float *sums,
    int64_t sumsRow) {
  int64_t v = 0;
  if (takesPairs()) {
    for (; v + 2 <= vectors; v += 2) {
      multiplyRows<2, isFirst, fetches>(rows, left, leftRow, leftTerm, right.from(v), count, sums + v * lanes, sumsRow);
    }
  }
  for (; v < vectors; v++) {
    multiplyRows<1, isFirst, fetches>(rows, left, leftRow, leftTerm, right.from(v), count, sums + v * lanes, sumsRow);
  }
}

}  // namespace weir
