// The inside of the 1x1 convolution: a product of matrices, row by row of pixels.
#pragma once

#include "Products.hpp"

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace weir::pointwise {

// Pixels of a unit of work.
constexpr int64_t perUnit = 96;
// Vectors of output channels whose sums are formed before they are finished.
constexpr int64_t vectorsTogether = 2;

// A convolution's data, `in` and `out` channels a pixel. Filters are (out / lanes, in / terms a step, lanes, terms a step); bias and residual may be NULL.
template <class Element, class Number>
struct Data {
  int64_t in, out;
  const Element *x;
  const Number *filters;
  const Element *bias, *residual;
  Element *y;
};

// Output channels `from` ..< `to` of pixels `first` ..< `first + count`. `sums` is scratch for `perUnit * vectorsTogether * lanes` numbers, `rows`, where
// Number is not x's type, for `perUnit * in`.
template <class Element, class Number>
WEIR_INLINE void convolvePixels(
    const Data<Element, Number> &data, bool inPairs, int64_t first, int64_t count, int64_t from, int64_t to, float *sums, Number *rows) {
  constexpr int64_t perStep = Terms<Number>::perStep, width = vectorsTogether * lanes;
  const Number *left;
  if constexpr (std::is_same_v<Element, Number>) {
    left = data.x + first * data.in;
  } else {
    for (int64_t i = 0; i < count * data.in; i += lanes) {
      Floats numbers;
      load(data.x + first * data.in + i, numbers);
      store(numbers, rows + i);
    }
    left = rows;
  }
  for (int64_t start = from; start < to; start += width) {
    const int64_t end = std::min(start + width, to);
    const Columns<Number> right{data.filters + start * data.in, perStep * lanes, data.in * lanes};
    multiplyAll<true, true>(
        inPairs, count, (end - start) / lanes, left, data.in, perStep, right, data.in / perStep, sums, width);
    for (int64_t k = start; k < end; k += lanes) {
      Floats offset{};
      if (data.bias) load(data.bias + k, offset);
      for (int64_t pixel = 0; pixel < count; pixel++) {
        const int64_t at = (first + pixel) * data.out + k;
        Floats sum;
        load(sums + pixel * width + k - start, sum);
        sum += offset;
        if (data.residual) {
          Floats other;
          load(data.residual + at, other);
          sum += other;
        }
        store(sum, data.y + at);
      }
    }
  }
}

}  // namespace weir::pointwise
