// GroupNorm + affine + (1 + scale), shift + SiLU in two passes over memory, for serving.
//
// The bytes of a sample depend on that sample alone. Its memory is cut into units by its own shape; each unit's sums are formed
// in one fixed order by whichever thread takes it; the units' sums are added in index order. So neither the batch, nor the slot
// in it, nor the thread count has a say. Sums of 64 numbers are f32, around a pivot (the channel's first element) so that a mean
// far from zero costs no digits; everything above that is double.
#include "GroupNorm.hpp"
#include "Internal.hpp"
#include "NativeBF16.hpp"
#include "Parallel.hpp"
#include "Processor.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/silu.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

using namespace weir;

namespace {

// ---- sums ----

// Channels-last, `vectors` times `lanes` channels of `count` rows `stride` elements apart. Each channel's sums are its own; several vectors of
// them at a time hide the additions' latency.
template <int vectors, class Element>
WEIR_INLINE void sumColumns(const Element *rows, int64_t count, int64_t stride, const float *pivot, double *sums, double *squares) {
  Floats k[vectors];
  double total[vectors][lanes] = {}, totalSquares[vectors][lanes] = {};
  for (int v = 0; v < vectors; v++) load(pivot + v * lanes, k[v]);
  for (int64_t start = 0; start < count; start += runLength) {
    const int64_t end = std::min(count, start + runLength);
    Floats s[vectors] = {}, q[vectors] = {};
    for (int64_t row = start; row < end; row++) {
      for (int v = 0; v < vectors; v++) {
        Floats x;
        load(rows + row * stride + v * lanes, x);
        const Floats d = x - k[v];
        s[v] += d;
        q[v] += d * d;
      }
    }
    for (int v = 0; v < vectors; v++) {
      for (int lane = 0; lane < lanes; lane++) {
        total[v][lane] += s[v][lane];
        totalSquares[v][lane] += q[v][lane];
      }
    }
  }
  std::memcpy(sums, total, sizeof total);
  std::memcpy(squares, totalSquares, sizeof totalSquares);
}

// The same of fewer than `lanes` channels.
template <class Element>
WEIR_INLINE void sumLastColumns(
    const Element *rows, int64_t count, int64_t stride, const float *pivot, int64_t width, double *sums, double *squares) {
  Floats k{};
  std::memcpy(&k, pivot, width * sizeof(float));
  std::fill_n(sums, width, 0.0);
  std::fill_n(squares, width, 0.0);
  for (int64_t start = 0; start < count; start += runLength) {
    const int64_t end = std::min(count, start + runLength);
    Floats s{}, q{};
    for (int64_t row = start; row < end; row++) {
      Floats x{};
      for (int64_t lane = 0; lane < width; lane++) x[lane] = one(rows + row * stride + lane);
      const Floats d = x - k;
      s += d;
      q += d * d;
    }
    for (int64_t lane = 0; lane < width; lane++) {
      sums[lane] += s[lane];
      squares[lane] += q[lane];
    }
  }
}

template <class Element>
WEIR_INLINE void sumRows(
    const Element *rows, int64_t count, int64_t channels, const float *pivot, double *sums, double *squares) {
  int64_t channel = 0;
  for (; channel + 4 * lanes <= channels; channel += 4 * lanes) {
    sumColumns<4>(rows + channel, count, channels, pivot + channel, sums + channel, squares + channel);
  }
  for (; channel + 2 * lanes <= channels; channel += 2 * lanes) {
    sumColumns<2>(rows + channel, count, channels, pivot + channel, sums + channel, squares + channel);
  }
  for (; channel + lanes <= channels; channel += lanes) {
    sumColumns<1>(rows + channel, count, channels, pivot + channel, sums + channel, squares + channel);
  }
  if (channel < channels) {
    sumLastColumns(rows + channel, count, channels, pivot + channel, channels - channel, sums + channel, squares + channel);
  }
}

// Contiguous: `count` elements of one channel.
template <class Element>
WEIR_INLINE void sumRun(const Element *elements, int64_t count, float pivot, double *sum, double *square) {
  double total[lanes] = {}, totalSquares[lanes] = {};
  const int64_t whole = count / lanes * lanes;
  for (int64_t start = 0; start < whole; start += runLength * lanes) {
    const int64_t end = std::min(whole, start + runLength * lanes);
    Floats s{}, q{};
    for (int64_t i = start; i < end; i += lanes) {
      Floats x;
      load(elements + i, x);
      const Floats d = x - pivot;
      s += d;
      q += d * d;
    }
    for (int lane = 0; lane < lanes; lane++) {
      total[lane] += s[lane];
      totalSquares[lane] += q[lane];
    }
  }
  for (int64_t i = whole; i < count; i++) {
    const double d = one(elements + i) - pivot;
    total[i - whole] += d;
    totalSquares[i - whole] += d * d;
  }
  *sum = 0;
  *square = 0;
  for (int lane = 0; lane < lanes; lane++) {
    *sum += total[lane];
    *square += totalSquares[lane];
  }
}

// ---- y = a*(x - m) + b, then SiLU: of channels-last rows, in GroupNorm.hpp; of a run ----

template <bool Silu, class Element>
WEIR_INLINE void applyRun(const Element *x, Element *y, int64_t count, const Coefficients &k) {
  const Floats mean = Floats{} + *k.m, factor = Floats{} + *k.a, offset = Floats{} + *k.b;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    Floats value;
    load(x + i, value);
    finish<Silu>(value, mean, factor, offset);
    store(value, y + i);
  }
  if (i < count) {
    Element tail[lanes] = {};
    std::memcpy(tail, x + i, (count - i) * sizeof(Element));
    Floats value;
    load(tail, value);
    finish<Silu>(value, mean, factor, offset);
    store(value, tail);
    std::memcpy(y + i, tail, (count - i) * sizeof(Element));
  }
}

// The clones: one set of machine code per instruction set, chosen when the program is loaded.
WEIR_CLONES void sumRowsF32(const float *x, int64_t n, int64_t c, const float *k, double *s, double *q) { sumRows(x, n, c, k, s, q); }
WEIR_CLONES void sumRowsBF16(const BFloat16 *x, int64_t n, int64_t c, const float *k, double *s, double *q) { sumRows(x, n, c, k, s, q); }
WEIR_CLONES void sumRunF32(const float *x, int64_t n, float k, double *s, double *q) { sumRun(x, n, k, s, q); }
WEIR_CLONES void sumRunBF16(const BFloat16 *x, int64_t n, float k, double *s, double *q) { sumRun(x, n, k, s, q); }
WEIR_CLONES void applyRowsF32(const float *x, float *y, int64_t n, int64_t c, const Coefficients &k, bool silu) {
  applyRows(x, y, n, c, k, silu);
}
WEIR_CLONES void applyRowsBF16(const BFloat16 *x, BFloat16 *y, int64_t n, int64_t c, const Coefficients &k, bool silu) {
  applyRows(x, y, n, c, k, silu);
}
WEIR_CLONES void applyRunF32(const float *x, float *y, int64_t n, const Coefficients &k, bool silu) {
  silu ? applyRun<true>(x, y, n, k) : applyRun<false>(x, y, n, k);
}
WEIR_CLONES void applyRunBF16(const BFloat16 *x, BFloat16 *y, int64_t n, const Coefficients &k, bool silu) {
  silu ? applyRun<true>(x, y, n, k) : applyRun<false>(x, y, n, k);
}

inline void sumRowsOf(const float *x, int64_t n, int64_t c, const float *k, double *s, double *q) { sumRowsF32(x, n, c, k, s, q); }
inline void sumRowsOf(const BFloat16 *x, int64_t n, int64_t c, const float *k, double *s, double *q) { sumRowsBF16(x, n, c, k, s, q); }
inline void sumRunOf(const float *x, int64_t n, float k, double *s, double *q) { sumRunF32(x, n, k, s, q); }
inline void sumRunOf(const BFloat16 *x, int64_t n, float k, double *s, double *q) { sumRunBF16(x, n, k, s, q); }
inline void applyRowsOf(const float *x, float *y, int64_t n, int64_t c, const Coefficients &k, bool silu) {
  applyRowsF32(x, y, n, c, k, silu);
}
inline void applyRowsOf(const BFloat16 *x, BFloat16 *y, int64_t n, int64_t c, const Coefficients &k, bool silu) {
  if (multipliesBF16()) {
    applyRowsNatively(reinterpret_cast<const NativeBFloat16 *>(x), reinterpret_cast<NativeBFloat16 *>(y), n, c, k, silu);
  } else {
    applyRowsBF16(x, y, n, c, k, silu);
  }
}
inline void applyRunOf(const float *x, float *y, int64_t n, const Coefficients &k, bool silu) { applyRunF32(x, y, n, k, silu); }
inline void applyRunOf(const BFloat16 *x, BFloat16 *y, int64_t n, const Coefficients &k, bool silu) { applyRunBF16(x, y, n, k, silu); }

// ---- the whole ----

struct Problem {
  int64_t samples, channels, pixels, groups;
  double eps;
  bool silu;
  const float *weight, *bias, *scale, *shift;  // any may be NULL; scale and shift are (samples, channels)
};

// From each channel's sums around its pivot to what pass 2 applies.
void coefficients(const Problem &p, int64_t sample, const double *sums, const double *squares, const float *pivot, const Coefficients &out) {
  const int64_t width = p.channels / p.groups;
  const double pixels = static_cast<double>(p.pixels), elements = pixels * static_cast<double>(width);
  for (int64_t group = 0; group < p.groups; group++) {
    // Sums around the group's first pivot, of all its channels.
    const int64_t first = group * width;
    const double base = pivot[first];
    double sum = 0, square = 0;
    for (int64_t c = first; c < first + width; c++) {
      const double distance = pivot[c] - base;
      sum += sums[c] + pixels * distance;
      square += squares[c] + 2 * distance * sums[c] + pixels * distance * distance;
    }
    const double offset = sum / elements;
    const double variance = std::max(0.0, square / elements - offset * offset);
    const double mean = base + offset, inverse = 1 / std::sqrt(variance + p.eps);
    const float rounded = static_cast<float>(mean);
    for (int64_t c = first; c < first + width; c++) {
      double factor = p.weight ? inverse * p.weight[c] : inverse;
      double constant = (p.bias ? p.bias[c] : 0.0) + (rounded - mean) * factor;
      if (p.scale) {
        const double scale = 1.0 + p.scale[sample * p.channels + c];
        factor *= scale;
        constant *= scale;
      }
      if (p.shift) constant += p.shift[sample * p.channels + c];
      out.m[c] = rounded;
      out.a[c] = static_cast<float>(factor);
      out.b[c] = static_cast<float>(constant);
      out.inverse[c] = static_cast<float>(inverse);
    }
  }
}

// What one thread should at least get, in units, before a second one is worth its start.
constexpr int64_t grain = 8;

template <class Element>
void runChannelsLast(const Problem &p, const Element *x, Element *y, const Coefficients &all) {
  const int64_t rows = std::clamp<int64_t>(unitElements / p.channels, 1, p.pixels);
  const int64_t units = (p.pixels + rows - 1) / rows, size = p.pixels * p.channels, c = p.channels;
  std::vector<double> sums(p.samples * units * c), squares(p.samples * units * c);
  std::vector<float> pivot(p.samples * c);
  for (int64_t i = 0; i < p.samples * c; i++) pivot[i] = one(x + i / c * size + i % c);
  parallelFor(p.samples * units, grain, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; unit++) {
      const int64_t sample = unit / units, row = unit % units * rows;
      sumRowsOf(
          x + sample * size + row * c, std::min(rows, p.pixels - row), c, &pivot[sample * c], &sums[unit * c], &squares[unit * c]);
    }
  });
  for (int64_t sample = 0; sample < p.samples; sample++) {
    double *total = &sums[sample * units * c], *totalSquares = &squares[sample * units * c];
    for (int64_t unit = 1; unit < units; unit++) {
      for (int64_t i = 0; i < c; i++) {
        total[i] += total[unit * c + i];
        totalSquares[i] += totalSquares[unit * c + i];
      }
    }
    coefficients(p, sample, total, totalSquares, &pivot[sample * c], all.from(sample * c));
  }
  parallelFor(p.samples * units, grain, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; unit++) {
      const int64_t sample = unit / units, row = unit % units * rows, at = sample * size + row * c;
      applyRowsOf(x + at, y + at, std::min(rows, p.pixels - row), c, all.from(sample * c), p.silu);
    }
  });
}

template <class Element>
void runContiguous(const Problem &p, const Element *x, Element *y, const Coefficients &all) {
  const int64_t c = p.channels, channels = p.samples * c;
  const int64_t perThread = std::max<int64_t>(1, grain * unitElements / p.pixels);
  std::vector<double> sums(channels), squares(channels);
  std::vector<float> pivot(channels);
  parallelFor(channels, perThread, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      pivot[i] = one(x + i * p.pixels);
      sumRunOf(x + i * p.pixels, p.pixels, pivot[i], &sums[i], &squares[i]);
    }
  });
  for (int64_t sample = 0; sample < p.samples; sample++) {
    coefficients(p, sample, &sums[sample * c], &squares[sample * c], &pivot[sample * c], all.from(sample * c));
  }
  parallelFor(channels, perThread, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) applyRunOf(x + i * p.pixels, y + i * p.pixels, p.pixels, all.from(i), p.silu);
  });
}

template <class Element>
void run(const Problem &p, bool channelsLast, const at::Tensor &x, at::Tensor &y, const Coefficients &all) {
  const auto from = static_cast<const Element *>(x.const_data_ptr());
  const auto to = static_cast<Element *>(y.mutable_data_ptr());
  channelsLast ? runChannelsLast(p, from, to, all) : runContiguous(p, from, to, all);
}

// Whether a pixel's channels are neighbours in memory, for any number of pixel dimensions.
bool isChannelsLast(const at::Tensor &x) {
  if (x.dim() == 4) return x.is_contiguous(at::MemoryFormat::ChannelsLast);
  int64_t expected = x.size(1);
  if (x.size(1) > 1 && x.stride(1) != 1) return false;
  for (int64_t dim = x.dim() - 1; dim >= 2; dim--) {
    if (x.size(dim) > 1 && x.stride(dim) != expected) return false;
    expected *= x.size(dim);
  }
  return x.size(0) <= 1 || x.stride(0) == expected;
}

// (N or 1, C) or (N or 1, C, 1, ...) as f32 (N, C).
std::optional<at::Tensor> perSample(const std::optional<at::Tensor> &given, const char *name, int64_t samples, int64_t channels) {
  if (!given) return std::nullopt;
  TORCH_CHECK(
      given->dim() >= 2 && (given->size(0) == samples || given->size(0) == 1) && given->size(1) == channels &&
          given->numel() == given->size(0) * channels,
      name, " must have shape (", samples, " or 1, ", channels, "[, 1, 1]), not ", given->sizes());
  return given->reshape({given->size(0), channels}).to(at::kFloat).expand({samples, channels}).contiguous();
}

std::optional<at::Tensor> perChannel(const std::optional<at::Tensor> &given, const char *name, int64_t channels) {
  if (!given) return std::nullopt;
  TORCH_CHECK(given->dim() == 1 && given->size(0) == channels, name, " must have shape (", channels, "), not ", given->sizes());
  return given->to(at::kFloat).contiguous();
}

const float *data(const std::optional<at::Tensor> &tensor) { return tensor ? tensor->const_data_ptr<float>() : nullptr; }

}  // namespace

namespace weir {

at::Tensor fusedGroupNorm(
    const at::Tensor &x, int64_t groups, const std::optional<at::Tensor> &weight, const std::optional<at::Tensor> &bias, double eps,
    const std::optional<at::Tensor> &scale, const std::optional<at::Tensor> &shift, bool silu, bool overwrite, at::Tensor *kept) {
  TORCH_CHECK(x.dim() >= 2, "GroupNorm takes (N, C, ...), not ", x.sizes());
  const int64_t samples = x.size(0), channels = x.size(1);
  TORCH_CHECK(groups >= 1 && channels % groups == 0, channels, " channels do not form ", groups, " equal groups");
  const auto gamma = perChannel(weight, "weight", channels), beta = perChannel(bias, "bias", channels);
  const auto scales = perSample(scale, "scale", samples, channels), shifts = perSample(shift, "shift", samples, channels);

  if (!x.is_cpu()) {
    auto y = at::group_norm(x.to(at::kFloat), groups, gamma, beta, eps);
    std::vector<int64_t> sizes(x.dim(), 1);
    sizes[0] = samples;
    sizes[1] = channels;
    if (scales) y = y.mul(scales->reshape(sizes).add(1));
    if (shifts) y = y.add(shifts->reshape(sizes));
    if (silu) y = at::silu(y);
    return y.to(x.scalar_type());
  }

  TORCH_CHECK(
      isF32OrBF16(x), "the fused GroupNorm takes f32 or bf16, not ", x.scalar_type());
  TORCH_CHECK(
      (!gamma || gamma->is_cpu()) && (!beta || beta->is_cpu()) && (!scales || scales->is_cpu()) && (!shifts || shifts->is_cpu()),
      "weight, bias, scale and shift must be on x's device, ", x.device());
  const bool channelsLast = isChannelsLast(x);
  const auto input = channelsLast ? x : x.contiguous();
  // What is made contiguous here is nobody else's.
  auto y = overwrite || !input.is_same(x) ? input : at::empty_strided(x.sizes(), x.strides(), x.options());
  if (x.numel() == 0) return y;
  const Problem problem{samples, channels, x.numel() / (samples * channels), groups, eps, silu,
                        data(gamma), data(beta), data(scales), data(shifts)};
  const at::Tensor numbers = at::empty({4, samples, channels}, x.options().dtype(at::kFloat).memory_format(at::MemoryFormat::Contiguous));
  const auto all = Coefficients::of(numbers);
  x.scalar_type() == at::kFloat ? run<float>(problem, channelsLast, input, y, all) : run<BFloat16>(problem, channelsLast, input, y, all);
  if (kept) *kept = numbers;
  return y;
}

}  // namespace weir

wt_status wt_fused_group_norm(
    wt_tensor x, int64_t groups, wt_tensor weight, wt_tensor bias, double eps, wt_tensor scale, wt_tensor shift, bool silu,
    bool overwrite, wt_tensor *out) {
  return guarded([&] {
    TORCH_CHECK(
        !(c10::GradMode::is_enabled() && value(x).requires_grad()), "this GroupNorm has no gradient: use the one for training, or no "
        "gradients");
    *out = wrap(
        fusedGroupNorm(value(x), groups, optional(weight), optional(bias), eps, optional(scale), optional(shift), silu, overwrite, nullptr));
  });
}
