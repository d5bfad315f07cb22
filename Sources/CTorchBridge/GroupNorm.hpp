// What the fused GroupNorm and its gradient share.
#pragma once

#include "Vectors.hpp"

#include <ATen/core/Tensor.h>

#include <cstring>
#include <optional>

namespace weir {

// Elements of one f32 sum.
constexpr int64_t runLength = 64;
// Elements of one unit of work, about: in bf16 they fill a first-level cache.
constexpr int64_t unitElements = 16384;

// What the second pass needs of each channel: `m` is the group's mean in f32, and `b` makes up for what that rounding lost.
struct Coefficients {
  float *m, *a, *b;
  // One over the group's standard deviation.
  float *inverse;

  // Those that a tensor (4, N, C) holds.
  static Coefficients of(const at::Tensor &numbers) {
    const int64_t count = numbers.size(1) * numbers.size(2);
    float *first = numbers.mutable_data_ptr<float>();
    return {first, first + count, first + 2 * count, first + 3 * count};
  }

  Coefficients from(int64_t channel) const { return {m + channel, a + channel, b + channel, inverse + channel}; }
};

// t becomes exp(t), by Cody-Waite reduction and a degree 6 polynomial (Cephes' expf), good to about 2 ulp.
WEIR_INLINE void exponential(Floats &t) {
  // Below the first, 1 + exp(t) is 1; at the second, the result is infinite.
  const Floats low = Floats{} - 87.0f, high = Floats{} + 89.0f;
  t = t < low ? low : t;
  t = t > high ? high : t;
  // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
  const Floats magic = Floats{} + 12582912.0f;
  const Floats shifted = t * 1.44269504088896341f + magic;
  const Floats n = shifted - magic;
  Floats r = t - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  Words exponent;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  exponent = (exponent + 127) << 23;
  Floats power;
  std::memcpy(&power, &exponent, sizeof power);
  t = p * power;
}

// x becomes x / (1 + exp(-x)).
WEIR_INLINE void silu(Floats &x) {
  Floats power = -x;
  exponential(power);
  x = x / (1.0f + power);
}

// x becomes (x - m) * a + b, then SiLU.
template <bool Silu>
WEIR_INLINE void finish(Floats &x, const Floats &m, const Floats &a, const Floats &b) {
  x = (x - m) * a + b;
  if constexpr (Silu) silu(x);
}

template <bool Silu, class Element>
WEIR_INLINE void applyRows(const Element *x, Element *y, int64_t count, int64_t channels, const Coefficients &k) {
  for (int64_t row = 0; row < count; row++) {
    const Element *from = x + row * channels;
    Element *to = y + row * channels;
    int64_t channel = 0;
    for (; channel + lanes <= channels; channel += lanes) {
      Floats value, mean, factor, offset;
      load(from + channel, value);
      load(k.m + channel, mean);
      load(k.a + channel, factor);
      load(k.b + channel, offset);
      finish<Silu>(value, mean, factor, offset);
      store(value, to + channel);
    }
    if (channel < channels) {
      const int64_t width = channels - channel;
      Element tail[lanes] = {};
      float means[lanes] = {}, factors[lanes] = {}, offsets[lanes] = {};
      std::memcpy(tail, from + channel, width * sizeof(Element));
      std::memcpy(means, k.m + channel, width * sizeof(float));
      std::memcpy(factors, k.a + channel, width * sizeof(float));
      std::memcpy(offsets, k.b + channel, width * sizeof(float));
      Floats value, mean, factor, offset;
      load(tail, value);
      load(means, mean);
      load(factors, factor);
      load(offsets, offset);
      finish<Silu>(value, mean, factor, offset);
      store(value, tail);
      std::memcpy(to + channel, tail, width * sizeof(Element));
    }
  }
}

// `count` pixels of `channels`, neighbours in memory.
template <class Element>
WEIR_INLINE void applyRows(const Element *x, Element *y, int64_t count, int64_t channels, const Coefficients &k, bool silu) {
  silu ? applyRows<true>(x, y, count, channels, k) : applyRows<false>(x, y, count, channels, k);
}

// GroupNorm with weight and bias, (1 + scale), shift and SiLU; see GroupNorm.cpp.
//
// `kept`, if asked for: the coefficients, (4, N, C) in f32, with which the normalised x is (x - m) * inverse and what SiLU takes (x - m) * a + b.
at::Tensor fusedGroupNorm(
    const at::Tensor &x, int64_t groups, const std::optional<at::Tensor> &weight, const std::optional<at::Tensor> &bias, double eps,
    const std::optional<at::Tensor> &scale, const std::optional<at::Tensor> &shift, bool silu, bool overwrite, at::Tensor *kept);

}  // namespace weir
