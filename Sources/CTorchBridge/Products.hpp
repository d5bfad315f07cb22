// Products of small matrices, the inside of the bridge's own convolutions.
#pragma once

#include "Vectors.hpp"

namespace weir {

// Rows that are taken together where there are enough, with one vector of columns and with two: their sums fill the registers.
constexpr int together = 6;
constexpr int togetherInPairs = 9;

// How numbers of a type are multiplied: `perStep` terms at a time. What stands at one step of a row is a Left, and at one of a vector of columns a
// Right.
template <class Number>
struct Terms;

template <>
struct Terms<float> {
  static constexpr int64_t perStep = 1;
  using Left = float;
  using Right = Floats;

  WEIR_INLINE Left left(const float *from) { return *from; }
  WEIR_INLINE void right(const float *from, Right &to) { load(from, to); }
  WEIR_INLINE void add(const Left &left, const Right &right, Floats &total) { total += left * right; }
};

// The right side of a product, of which a vector of columns is neighbours in memory: `lanes` numbers at each step, or of several terms a step, `lanes`
// times so many.
template <class Number>
struct Columns {
  const Number *numbers;
  // From one step to the next, and from one vector of columns to the next.
  int64_t step, vector;
};

// Adds to `sums` the products of `rows` rows of `left` with `vectors` vectors of columns of `right`, over `count` steps. `isFirst`: `sums` holds nothing
// yet. `fetches`: what follows `right`, as much as it is itself, comes into the cache meanwhile.
template <int rows, int vectors, bool isFirst, bool fetches, class Number>
WEIR_INLINE void multiply(
    const Number *left, int64_t leftRow, int64_t leftStep, const Columns<Number> &right, int64_t count, float *sums, int64_t sumsRow) {
  using Terms = Terms<Number>;
  Floats total[rows][vectors] = {};
  if constexpr (!isFirst) {
    for (int row = 0; row < rows; row++) {
      for (int v = 0; v < vectors; v++) load(sums + row * sumsRow + v * lanes, total[row][v]);
    }
  }
  for (int64_t step = 0; step < count; step++) {
    typename Terms::Right factors[vectors];
    for (int v = 0; v < vectors; v++) {
      const Number *numbers = right.numbers + step * right.step + v * right.vector;
      Terms::right(numbers, factors[v]);
      if constexpr (fetches) __builtin_prefetch(numbers + vectors * right.vector);
    }
    for (int row = 0; row < rows; row++) {
      const typename Terms::Left number = Terms::left(left + row * leftRow + step * leftStep);
      for (int v = 0; v < vectors; v++) Terms::add(number, factors[v], total[row][v]);
    }
  }
  for (int row = 0; row < rows; row++) {
    for (int v = 0; v < vectors; v++) store(total[row][v], sums + row * sumsRow + v * lanes);
  }
}

// The same of fewer rows than `most`.
template <int most, int vectors, bool isFirst, bool fetches, class Number>
WEIR_INLINE void multiplyLast(
    int64_t rows, const Number *left, int64_t leftRow, int64_t leftStep, const Columns<Number> &right, int64_t count, float *sums,
    int64_t sumsRow) {
  if constexpr (most > 1) {
    if (rows == most - 1) return multiply<most - 1, vectors, isFirst, fetches>(left, leftRow, leftStep, right, count, sums, sumsRow);
    multiplyLast<most - 1, vectors, isFirst, fetches>(rows, left, leftRow, leftStep, right, count, sums, sumsRow);
  }
}

// The same of any number of rows.
template <int vectors, bool isFirst, bool fetches, class Number>
WEIR_INLINE void multiplyRows(
    int64_t rows, const Number *left, int64_t leftRow, int64_t leftStep, const Columns<Number> &right, int64_t count, float *sums,
    int64_t sumsRow) {
  constexpr int most = vectors == 1 ? together : togetherInPairs;
  int64_t row = 0;
  if (fetches && rows >= most) {
    multiply<most, vectors, isFirst, true>(left, leftRow, leftStep, right, count, sums, sumsRow);
    row = most;
  }
  for (; row + most <= rows; row += most) {
    multiply<most, vectors, isFirst, false>(left + row * leftRow, leftRow, leftStep, right, count, sums + row * sumsRow, sumsRow);
  }
  multiplyLast<most, vectors, isFirst, fetches>(
      rows - row, left + row * leftRow, leftRow, leftStep, right, count, sums + row * sumsRow, sumsRow);
}

// The same of any number of vectors of columns. A sum does not depend on those it is taken with.
//
// `inPairs`: two vectors together, where registers hold whole ones: with `together` rows of one, the processor would wait for its sums.
template <bool isFirst, bool fetches, class Number>
WEIR_INLINE void multiplyAll(
    bool inPairs, int64_t rows, int64_t vectors, const Number *left, int64_t leftRow, int64_t leftStep, const Columns<Number> &right,
    int64_t count, float *sums, int64_t sumsRow) {
  int64_t v = 0;
  for (; inPairs && v + 2 <= vectors; v += 2) {
    multiplyRows<2, isFirst, fetches>(
        rows, left, leftRow, leftStep, Columns<Number>{right.numbers + v * right.vector, right.step, right.vector}, count, sums + v * lanes,
        sumsRow);
  }
  for (; v < vectors; v++) {
    multiplyRows<1, isFirst, fetches>(
        rows, left, leftRow, leftStep, Columns<Number>{right.numbers + v * right.vector, right.step, right.vector}, count, sums + v * lanes,
        sumsRow);
  }
}

}  // namespace weir
