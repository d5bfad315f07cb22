// 3x3 convolution by Winograd's minimal filtering, F(4x4, 3x3) (Lavin & Gray 2015): 36 products a channel pair make 16 outputs, where the
// plain sum takes 144.
//
// The bytes of a tile depend on that tile alone: neither on the batch nor on how tiles are shared out. So the tiles of all samples form one row,
// of which a block may hold the last of one sample and the first of the next: small images' filters, which are larger than the images, are then
// read once for several of them.
#include "Internal.hpp"
#include "NativeBF16.hpp"
#include "Operands.hpp"
#include "Parallel.hpp"
#include "Processor.hpp"
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

WEIR_CLONES void convolveF32(
    const Problem &p, const Data<float, float> &data, int64_t first, int64_t count, int64_t from, int64_t to, float *tiles, float *products) {
  convolveBlock(p, data, holdsWholeVectors(), first, count, from, to, tiles, products);
}

WEIR_CLONES void convolveBF16(
    const Problem &p, const Data<BFloat16, float> &data, int64_t first, int64_t count, int64_t from, int64_t to, float *tiles,
    float *products) {
  convolveBlock(p, data, holdsWholeVectors(), first, count, from, to, tiles, products);
}

template <class Element, class Number>
using Block = void(
    const Problem &p, const Data<Element, Number> &data, int64_t first, int64_t count, int64_t from, int64_t to, Number *tiles,
    float *products);

template <class Element, class Number>
void run(const Problem &p, const Operands &operands, const at::Tensor &filters, Block<Element, Number> *convolve) {
  const Data<Element, Number> data{
      elements<Element>(operands.x), elements<Number>(filters), elements<Element>(operands.bias), elements<Element>(operands.residual),
      static_cast<Element *>(operands.y.mutable_data_ptr()), operands.y.size(1)};
  const int64_t all = operands.x.size(0) * p.tiles(), blocks = (all + perBlock - 1) / perBlock, panels = p.out / lanes;
  // Of a small image, reading the filters is most of the work.
  const int64_t work = 2 * points * all * p.in * p.out + readingCost * filters.numel();
  const int64_t threads = std::clamp<int64_t>(work / worthwhile, 1, threadsToUse());
  // Where there are too few blocks for all threads, a block's output channels are shared out too: then each thread reads its own filters.
  const int64_t shares = threads == 1 ? 1 : std::clamp<int64_t>((2 * threads + blocks - 1) / blocks, 1, panels);
  parallelFor(blocks * shares, (blocks * shares + threads - 1) / threads, [&](int64_t begin, int64_t end) {
    float *products = scratch(points * (pointStride(p.in) + pointStride(p.out)));
    const auto tiles = reinterpret_cast<Number *>(products + points * pointStride(p.out));
    for (int64_t item = begin; item < end; item++) {
      const int64_t block = item / shares, share = item % shares;
      const int64_t first = all * block / blocks, count = all * (block + 1) / blocks - first;
      convolve(p, data, first, count, panels * share / shares * lanes, panels * (share + 1) / shares * lanes, tiles, products);
    }
  });
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
  const at::ScalarType type = weight.scalar_type();
  TORCH_CHECK(
      weight.dim() == 4 && weight.is_cpu() && isF32OrBF16(weight) && weight.size(2) == 3 && weight.size(3) == 3,
      "a Winograd convolution takes f32 or bf16 3x3 filters on the CPU, not ", type, " ", weight.sizes());
  const int64_t out = whole(weight.size(0)), in = whole(weight.size(1)), panels = out / lanes;
  const at::Tensor padded =
      at::constant_pad_nd(weight.detach().to(at::kFloat), {0, 0, 0, 0, 0, in - weight.size(1), 0, out - weight.size(0)});
  const at::Tensor taps = padded.reshape({panels, lanes, in, 9}).permute({0, 2, 3, 1}).contiguous();
  at::Tensor filters = at::empty({points, panels, in, lanes}, taps.options());
  parallelFor(panels * in, 256, [&](int64_t begin, int64_t end) {
    transformFilters(taps.const_data_ptr<float>(), begin, end, panels * in, filters.mutable_data_ptr<float>());
  });
  return type == at::kBFloat16 && multipliesBF16() ? withPairedTerms(filters) : filters;
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
  if (operands.y.numel() == 0) return operands.y;
  const Problem p{operands.x.size(2), operands.x.size(3), in, out};
  switch (productType(operands.x, filters)) {
    case ProductType::f32: run<float, float>(p, operands, filters, convolveF32); break;
    case ProductType::f32OfBF16: run<BFloat16, float>(p, operands, filters, convolveBF16); break;
    case ProductType::native: run<NativeBFloat16, NativeBFloat16>(p, operands, filters, convolveBlockNatively); break;
  }
  return operands.y;
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
