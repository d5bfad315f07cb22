// 3x3 convolution in f32 by Winograd's minimal filtering, F(4x4, 3x3) (Lavin & Gray 2015): 36 products a channel pair make 16 outputs, where the
// plain sum takes 144.
//
// The bytes of a tile depend on that tile alone: neither on the batch nor on how tiles are shared out.
#include "Internal.hpp"
#include "Operands.hpp"
#include "Parallel.hpp"
#include "Winograd.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cstdlib>
#include <memory>

using namespace weir;
using namespace weir::winograd;

namespace {

// Tiles `first` ..< `first + count` of one sample, output channels `from` ..< `to`. `tiles` and `products` are scratch for (points, count, in) and
// (points, count, out) numbers.
WEIR_CLONES void convolveTiles(
    const Problem &p, int64_t first, int64_t count, int64_t from, int64_t to, const float *x, const float *filters, const float *bias,
    const float *residual, float *y, float *tiles, float *products) {
  for (int64_t tile = 0; tile < count; tile++) gatherTile(p, first + tile, x, tiles + tile * p.in, count * p.in);
  for (int64_t point = 0; point < points; point++) {
    for (int64_t k = from; k < to; k += lanes) {
      const float *inputs = tiles + point * count * p.in, *panel = filters + (point * p.out + k) * p.in;
      float *sums = products + point * count * p.out + k;
      int64_t tile = 0;
      for (; tile + together <= count; tile += together) {
        multiply<together, true>(inputs + tile * p.in, p.in, 1, panel, lanes, p.in, sums + tile * p.out, p.out);
      }
      for (; tile + 2 <= count; tile += 2) multiply<2, true>(inputs + tile * p.in, p.in, 1, panel, lanes, p.in, sums + tile * p.out, p.out);
      for (; tile < count; tile++) multiply<1, true>(inputs + tile * p.in, p.in, 1, panel, lanes, p.in, sums + tile * p.out, p.out);
    }
  }
  for (int64_t tile = 0; tile < count; tile++) {
    const int64_t top = (first + tile) / p.across() * side, left = (first + tile) % p.across() * side;
    const int64_t rows = std::min(side, p.height - top), columns = std::min(side, p.width - left);
    for (int64_t k = from; k < to; k += lanes) {
      Floats half[reach][side], offset{};
      if (bias) load(bias + k, offset);
      for (int64_t j = 0; j < reach; j++) {
        Floats m[reach];
        for (int64_t i = 0; i < reach; i++) load(products + ((i * reach + j) * count + tile) * p.out + k, m[i]);
        transformOutput(m, half[j]);
      }
      for (int64_t i = 0; i < rows; i++) {
        const Floats m[reach] = {half[0][i], half[1][i], half[2][i], half[3][i], half[4][i], half[5][i]};
        Floats row[side];
        transformOutput(m, row);
        for (int64_t j = 0; j < columns; j++) {
          const int64_t at = ((top + i) * p.width + left + j) * p.out + k;
          Floats sum = row[j] + offset;
          if (residual) {
            Floats other;
            load(residual + at, other);
            sum += other;
          }
          store(sum, y + at);
        }
      }
    }
  }
}

// Memory of the calling thread, kept for its next convolution.
float *scratch(int64_t count) {
  struct Free {
    void operator()(float *memory) const { std::free(memory); }
  };
  thread_local std::unique_ptr<float, Free> memory;
  thread_local int64_t capacity = 0;
  if (capacity < count) {
    constexpr size_t line = 64;
    const size_t bytes = (count * sizeof(float) + line - 1) / line * line;
    memory.reset(static_cast<float *>(std::aligned_alloc(line, bytes)));
    TORCH_CHECK(memory, "no memory for ", bytes, " bytes");
    capacity = count;
  }
  return memory.get();
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
      weight.dim() == 4 && weight.is_cpu() && weight.scalar_type() == at::kFloat && weight.size(2) == 3 && weight.size(3) == 3 &&
          weight.size(0) % lanes == 0 && weight.size(1) % lanes == 0,
      "a Winograd convolution takes f32 3x3 filters on the CPU and channels in multiples of ", lanes, ", not ", weight.scalar_type(), " ",
      weight.sizes());
  const int64_t panels = weight.size(0) / lanes, in = weight.size(1);
  const at::Tensor taps = weight.detach().reshape({panels, lanes, in, 9}).permute({0, 2, 3, 1}).contiguous();
  at::Tensor filters = at::empty({points, panels, in, lanes}, taps.options());
  parallelFor(panels * in, 256, [&](int64_t begin, int64_t end) {
    transformFilters(taps.const_data_ptr<float>(), begin, end, panels * in, filters.mutable_data_ptr<float>());
  });
  return filters;
}

at::Tensor convolve(
    const at::Tensor &given, const at::Tensor &filters, const std::optional<at::Tensor> &bias, const std::optional<at::Tensor> &residual) {
  TORCH_CHECK(filters.dim() == 4 && filters.size(0) == points && filters.size(3) == lanes, "the filters are not packed for Winograd");
  const Operands operands(given, filters.size(2), filters.size(1) * lanes, bias, residual);
  const at::Tensor &x = operands.x, &y = operands.y;
  const Problem p{x.size(2), x.size(3), x.size(1), y.size(1)};
  if (y.numel() == 0) return y;
  const int64_t perBlock = p.tilesPerBlock(), blocks = (p.tiles() + perBlock - 1) / perBlock;
  const int64_t inputs = p.height * p.width * p.in, outputs = p.height * p.width * p.out;
  // Where there are too few blocks for all threads, a block's output channels are shared out too.
  const int64_t all = x.size(0) * blocks, panels = p.out / lanes, operations = 2 * points * p.tiles() * x.size(0) * p.in * p.out;
  const int64_t threads = std::clamp<int64_t>(operations / worthwhile, 1, threadsToUse());
  const int64_t shares = threads == 1 ? 1 : std::clamp<int64_t>((2 * threads + all - 1) / all, 1, panels);
  parallelFor(all * shares, (all * shares + threads - 1) / threads, [&](int64_t begin, int64_t end) {
    float *tiles = scratch(points * perBlock * (p.in + p.out));
    for (int64_t item = begin; item < end; item++) {
      const int64_t block = item / shares, share = item % shares;
      const int64_t sample = block / blocks, first = block % blocks * perBlock, count = std::min(perBlock, p.tiles() - first);
      convolveTiles(
          p, first, count, panels * share / shares * lanes, panels * (share + 1) / shares * lanes, x.const_data_ptr<float>() + sample * inputs,
          filters.const_data_ptr<float>(), operands.biasData(), operands.residualData(sample * outputs),
          y.mutable_data_ptr<float>() + sample * outputs, tiles, tiles + points * perBlock * p.in);
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

wt_status wt_conv2d_winograd(wt_tensor x, wt_tensor packed, wt_tensor bias, wt_tensor residual, wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    *out = wrap(winograd::convolve(value(x), value(packed), optional(bias), optional(residual)));
  });
}
