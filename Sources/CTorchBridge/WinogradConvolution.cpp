// 3x3 convolution in f32 by Winograd's minimal filtering, F(4x4, 3x3) (Lavin & Gray 2015): 36 products a channel pair make 16 outputs, where the
// plain sum takes 144.
//
// The bytes of a tile depend on that tile alone: neither on the batch nor on how tiles are shared out. So the tiles of all samples form one row,
// of which a block may hold the last of one sample and the first of the next: small images' filters, which are larger than the images, are then
// read once for several of them.
#include "Internal.hpp"
#include "Operands.hpp"
#include "Parallel.hpp"
#include "Scratch.hpp"
#include "Winograd.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>

#include <algorithm>

using namespace weir;
using namespace weir::winograd;

namespace {

// From one point's numbers to the next one's, of a block's tiles or products. The odd vector keeps a tile's numbers from all falling into the same
// few places of a first-level cache.
constexpr int64_t pointStride(int64_t channels) { return perBlock * channels + lanes; }

// A last vector of channels may be fewer than `lanes`.
WEIR_INLINE void loadSome(const float *from, int64_t width, Floats &to) {
  if (width == lanes) return load(from, to);
  float numbers[lanes] = {};
  std::copy_n(from, width, numbers);
  load(numbers, to);
}

WEIR_INLINE void storeSome(const Floats &from, int64_t width, float *to) {
  if (width == lanes) return store(from, to);
  for (int64_t lane = 0; lane < width; lane++) to[lane] = from[lane];
}

// A block's output channels `from` ..< `to` of tiles `first` ..< `first + count`, counted over all samples. y has the first
// `channels` of the output channels. `tiles` and `products` are scratch for
// (points, count, in) and (points, count, out) numbers.
WEIR_CLONES void convolveTiles(
    const Problem &p, int64_t channels, int64_t first, int64_t count, int64_t from, int64_t to, const float *x, const float *filters,
    const float *bias, const float *residual, float *y, float *tiles, float *products) {
  const int64_t perSample = p.tiles(), pixels = p.height * p.width, fromTile = pointStride(p.in), fromSum = pointStride(p.out);
  for (int64_t i = 0; i < count; i++) {
    const int64_t sample = (first + i) / perSample, tile = (first + i) % perSample;
    gatherTile(p, tile, x + sample * pixels * p.in, tiles + i * p.in, fromTile);
  }
  for (int64_t point = 0; point < points; point++) {
    const Columns right{filters + (point * p.out + from) * p.in, lanes, p.in * lanes};
    multiplyAll<true, true>(
        count, (to - from) / lanes, tiles + point * fromTile, p.in, 1, right, p.in, products + point * fromSum + from, p.out);
  }
  for (int64_t i = 0; i < count; i++) {
    const int64_t sample = (first + i) / perSample, tile = (first + i) % perSample;
    const int64_t top = tile / p.across() * side, left = tile % p.across() * side, origin = (sample * p.height + top) * p.width + left;
    const int64_t rows = std::min(side, p.height - top), columns = std::min(side, p.width - left);
    for (int64_t k = from; k < to; k += lanes) {
      const int64_t width = std::min<int64_t>(lanes, channels - k);
      Floats half[reach][side], offset{};
      if (bias) loadSome(bias + k, width, offset);
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
          const int64_t at = (origin + row * p.width + column) * channels + k;
          Floats sum = numbers[column] + offset;
          if (residual) {
            Floats other;
            loadSome(residual + at, width, other);
            sum += other;
          }
          storeSome(sum, width, y + at);
        }
      }
    }
  }
}

// Vectors `begin` ..< `end` of `count`, from nine numbers a filter to 36.
WEIR_CLONES void transformFilters(const float *taps, int64_t begin, int64_t end, int64_t count, float *filters) {
  for (int64_t i = begin; i < end; i++) {
    Floats columns[3][reach];
    for (int64_t column = 0; column < 3; column++) {
      Floats g[3];
      for (int64_t row = 0; row < 3; row++) load(taps + (i * 9 + row * 3 + column) * lanes, g[row]);
      transformFilter(g, columns[column]);
    }
    for (int64_t row = 0; row < reach; row++) {
      const Floats g[3] = {columns[0][row], columns[1][row], columns[2][row]};
      Floats out[reach];
      transformFilter(g, out);
      for (int64_t column = 0; column < reach; column++) store(out[column], filters + ((row * reach + column) * count + i) * lanes);
    }
  }
}

}  // namespace

namespace weir::winograd {

at::Tensor pack(const at::Tensor &weight) {
  TORCH_CHECK(
      weight.dim() == 4 && weight.is_cpu() && weight.scalar_type() == at::kFloat && weight.size(2) == 3 && weight.size(3) == 3,
      "a Winograd convolution takes f32 3x3 filters on the CPU, not ", weight.scalar_type(), " ", weight.sizes());
  const int64_t out = whole(weight.size(0)), in = whole(weight.size(1)), panels = out / lanes;
  const at::Tensor padded = at::constant_pad_nd(weight.detach(), {0, 0, 0, 0, 0, in - weight.size(1), 0, out - weight.size(0)});
  const at::Tensor taps = padded.reshape({panels, lanes, in, 9}).permute({0, 2, 3, 1}).contiguous();
  at::Tensor filters = at::empty({points, panels, in, lanes}, taps.options());
  parallelFor(panels * in, 256, [&](int64_t begin, int64_t end) {
    transformFilters(taps.const_data_ptr<float>(), begin, end, panels * in, filters.mutable_data_ptr<float>());
  });
  return filters;
}

at::Tensor convolve(
    const at::Tensor &given, const at::Tensor &filters, int64_t channels, const std::optional<at::Tensor> &bias,
    const std::optional<at::Tensor> &residual) {
  TORCH_CHECK(filters.dim() == 4 && filters.size(0) == points && filters.size(3) == lanes, "the filters are not packed for Winograd");
  const int64_t in = filters.size(2), out = filters.size(1) * lanes;
  TORCH_CHECK(whole(channels) == out, "filters packed for ", out, " output channels do not make ", channels);
  const bool isWhole = given.dim() != 4 || given.size(1) == in || whole(given.size(1)) != in;
  const Operands operands(
      isWhole ? given : at::constant_pad_nd(given, {0, 0, 0, 0, 0, in - given.size(1)}), in, channels, bias, residual);
  const at::Tensor &x = operands.x, &y = operands.y;
  const Problem p{x.size(2), x.size(3), in, out};
  if (y.numel() == 0) return y;
  const int64_t all = x.size(0) * p.tiles(), blocks = (all + perBlock - 1) / perBlock, panels = p.out / lanes;
  // Of a small image, reading the filters is most of the work.
  const int64_t work = 2 * points * all * p.in * p.out + readingCost * filters.numel();
  const int64_t threads = std::clamp<int64_t>(work / worthwhile, 1, threadsToUse());
  // Where there are too few blocks for all threads, a block's output channels are shared out too: then each thread reads its own filters.
  const int64_t shares = threads == 1 ? 1 : std::clamp<int64_t>((2 * threads + blocks - 1) / blocks, 1, panels);
  parallelFor(blocks * shares, (blocks * shares + threads - 1) / threads, [&](int64_t begin, int64_t end) {
    float *tiles = scratch(points * (pointStride(p.in) + pointStride(p.out)));
    for (int64_t item = begin; item < end; item++) {
      const int64_t block = item / shares, share = item % shares;
      const int64_t first = all * block / blocks, count = all * (block + 1) / blocks - first;
      convolveTiles(
          p, channels, first, count, panels * share / shares * lanes, panels * (share + 1) / shares * lanes, x.const_data_ptr<float>(),
          filters.const_data_ptr<float>(), operands.biasData(), operands.residualData(0), y.mutable_data_ptr<float>(), tiles,
          tiles + points * pointStride(p.in));
    }
  });
  return y;
}

}  // namespace weir::winograd

wt_status wt_pack_winograd_weight(wt_tensor weight, wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    *out = wrap(winograd::pack(value(weight)));
  });
}

wt_status wt_conv2d_winograd(wt_tensor x, wt_tensor packed, int64_t channels, wt_tensor bias, wt_tensor residual, wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    *out = wrap(winograd::convolve(value(x), value(packed), channels, optional(bias), optional(residual)));
  });
}
