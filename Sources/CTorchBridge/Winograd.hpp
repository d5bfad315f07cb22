// Winograd's minimal filtering F(4x4, 3x3): the transforms that the convolution and its gradient share, and the inside of the convolution.
//
// An output tile is A'[(G g G') * (B' d B)]A of its 6x6 input tile d and the filter g, the products summed over the input channels. The
// interpolation points are 0, +-5/8, +-3/2 and infinity: exact in binary and near one another in size, so that rounding costs about twice what
// it costs the plain sum. With the usual 0, +-1, +-2 it is seven times.
#pragma once

#include "Products.hpp"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <optional>

namespace weir::winograd {

constexpr int points = 36;
// Outputs of a tile, and inputs, in each direction.
constexpr int64_t side = 4, reach = 6;
// Tiles that are taken together, at most: so many that reading a filter once for all of them costs little beside the products, so few that they
// and their products stay in a second-level cache where channels are few.
constexpr int64_t perBlock = 3 * together;

constexpr float a = 0.625f, b = 1.5f, a2 = a * a, b2 = b * b;

struct Problem {
  int64_t height, width, in, out;

  __attribute__((always_inline)) int64_t across() const { return (width + side - 1) / side; }
  // Of one sample.
  __attribute__((always_inline)) int64_t tiles() const { return across() * ((height + side - 1) / side); }
};

// B' d
WEIR_INLINE void transformInput(
    const Floats &d0, const Floats &d1, const Floats &d2, const Floats &d3, const Floats &d4, const Floats &d5, Floats out[reach]) {
  const Floats e = d4 - b2 * d2, f = a * (d3 - b2 * d1), g = d4 - a2 * d2, h = b * (d3 - a2 * d1);
  out[0] = d4 - (a2 + b2) * d2 + (a2 * b2) * d0;
  out[1] = e + f;
  out[2] = e - f;
  out[3] = g + h;
  out[4] = g - h;
  out[5] = d5 - (a2 + b2) * d3 + (a2 * b2) * d1;
}

// A' m
WEIR_INLINE void transformOutput(const Floats m[reach], Floats out[side]) {
  const Floats p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], s = m[3] - m[4];
  out[0] = m[0] + p + r;
  out[1] = a * q + b * s;
  out[2] = a2 * p + b2 * r;
  out[3] = (a2 * a) * q + (b2 * b) * s + m[5];
}

// Of G's rows.
constexpr float atZero = 1 / (a2 * b2), atA = 1 / (2 * a2 * (a2 - b2)), atB = 1 / (2 * b2 * (b2 - a2));

// G g
WEIR_INLINE void transformFilter(const Floats g[3], Floats out[reach]) {
  const Floats p = atA * g[0] + (atA * a2) * g[2], q = (atA * a) * g[1], r = atB * g[0] + (atB * b2) * g[2], s = (atB * b) * g[1];
  out[0] = atZero * g[0];
  out[1] = p + q;
  out[2] = p - q;
  out[3] = r + s;
  out[4] = r - s;
  out[5] = g[2];
}

// The input tile of output tile `tile`, transformed: `points` numbers a channel, `stride` apart.
template <class Element, class Number>
WEIR_INLINE void gatherTile(const Problem &p, int64_t tile, const Element *x, Number *to, int64_t stride) {
  const int64_t top = tile / p.across() * side - 1, left = tile % p.across() * side - 1;
  const bool isInside = top >= 0 && left >= 0 && top + reach <= p.height && left + reach <= p.width;
  for (int64_t c = 0; c < p.in; c += lanes) {
    Floats columns[reach][reach];
    for (int64_t j = 0; j < reach; j++) {
      Floats d[reach];
      for (int64_t i = 0; i < reach; i++) {
        const int64_t row = top + i, column = left + j;
        if (isInside || (row >= 0 && row < p.height && column >= 0 && column < p.width)) {
          load(x + (row * p.width + column) * p.in + c, d[i]);
        } else {
          d[i] = Floats{};
        }
      }
      transformInput(d[0], d[1], d[2], d[3], d[4], d[5], columns[j]);
    }
    for (int64_t i = 0; i < reach; i++) {
      Floats row[reach];
      transformInput(columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i], columns[5][i], row);
      for (int64_t j = 0; j < reach; j++) store(row[j], to + (i * reach + j) * stride + c);
    }
  }
}

// From one point's numbers to the next one's, of a block's tiles or products. The odd vector keeps a tile's numbers from all falling into the same
// few places of a first-level cache.
constexpr int64_t pointStride(int64_t channels) { return perBlock * channels + lanes; }

// A last vector of channels may be fewer than `lanes`.
template <class Element>
WEIR_INLINE void loadSome(const Element *from, int64_t width, Floats &to) {
  if (width == lanes) return load(from, to);
  Element numbers[lanes] = {};
  std::copy_n(from, width, numbers);
  load(numbers, to);
}

template <class Element>
WEIR_INLINE void storeSome(const Floats &from, int64_t width, Element *to) {
  if (width == lanes) return store(from, to);
  Element numbers[lanes];
  store(from, numbers);
  std::copy_n(numbers, width, to);
}

// A convolution's data. Filters are G g G' as (points, out / lanes, in / terms a step, lanes, terms a step); bias and residual may be NULL. y has the
// first `channels` of the output channels.
template <class Element, class Number>
struct Data {
  const Element *x;
  const Number *filters;
  const Element *bias, *residual;
  Element *y;
  int64_t channels;
};

// A block's output channels `from` ..< `to` of tiles `first` ..< `first + count`, counted over all samples. `tiles` and `products` are scratch for
// `points` times `pointStride(in)` and `pointStride(out)` numbers.
template <class Element, class Number>
WEIR_INLINE void convolveBlock(
    const Problem &p, const Data<Element, Number> &data, bool inPairs, int64_t first, int64_t count, int64_t from, int64_t to, Number *tiles,
    float *products) {
  constexpr int64_t perStep = Terms<Number>::perStep;
  const int64_t perSample = p.tiles(), pixels = p.height * p.width, fromTile = pointStride(p.in), fromSum = pointStride(p.out);
  for (int64_t i = 0; i < count; i++) {
    const int64_t sample = (first + i) / perSample, tile = (first + i) % perSample;
    gatherTile(p, tile, data.x + sample * pixels * p.in, tiles + i * p.in, fromTile);
  }
  for (int64_t point = 0; point < points; point++) {
    const Columns<Number> right{data.filters + (point * p.out + from) * p.in, perStep * lanes, p.in * lanes};
    multiplyAll<true, true>(
        inPairs, count, (to - from) / lanes, tiles + point * fromTile, p.in, perStep, right, p.in / perStep, products + point * fromSum + from,
        p.out);
  }
  for (int64_t i = 0; i < count; i++) {
    const int64_t sample = (first + i) / perSample, tile = (first + i) % perSample;
    const int64_t top = tile / p.across() * side, left = tile % p.across() * side, origin = (sample * p.height + top) * p.width + left;
    const int64_t rows = std::min(side, p.height - top), columns = std::min(side, p.width - left);
    for (int64_t k = from; k < to; k += lanes) {
      const int64_t width = std::min<int64_t>(lanes, data.channels - k);
      Floats half[reach][side], offset{};
      if (data.bias) loadSome(data.bias + k, width, offset);
      for (int64_t column = 0; column < reach; column++) {
        Floats m[reach];
        for (int64_t row = 0; row < reach; row++) load(products + (row * reach + column) * fromSum + i * p.out + k, m[row]);
        transformOutput(m, half[column]);
      }
      for (int64_t row = 0; row < rows; row++) {
        const Floats m[reach] = {half[0][row], half[1][row], half[2][row], half[3][row], half[4][row], half[5][row]};
        Floats numbers[side];
        transformOutput(m, numbers);
        for (int64_t column = 0; column < columns; column++) {
          const int64_t at = (origin + row * p.width + column) * data.channels + k;
          Floats sum = numbers[column] + offset;
          if (data.residual) {
            Floats other;
            loadSome(data.residual + at, width, other);
            sum += other;
          }
          storeSome(sum, width, data.y + at);
        }
      }
    }
  }
}

// `channels`, filled up to whole vectors.
constexpr int64_t whole(int64_t channels) { return (channels + lanes - 1) / lanes * lanes; }

// G g G' of (out, in, 3, 3) in f32 or bf16, filled up with zeros to whole vectors of channels, as (points, out / lanes, in, lanes): in bf16, two terms
// side by side, where the weight is in bf16 and the processor multiplies that, otherwise in f32.
at::Tensor pack(const at::Tensor &weight);

// x (N, in, H, W) in f32 or, with filters made from bf16, in bf16 on the CPU; the result is x's type, channels-last, and has `channels` channels.
at::Tensor convolve(
    const at::Tensor &x, const at::Tensor &filters, int64_t channels, const std::optional<at::Tensor> &bias,
    const std::optional<at::Tensor> &residual);

}  // namespace weir::winograd
