// 1x1 convolution in f32: the sums of a pixel are formed in the channels' order, whatever the batch, its size and the number of threads.
#include "Internal.hpp"
#include "Operands.hpp"
#include "Parallel.hpp"
#include "Products.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

using namespace weir;

namespace {

// Pixels of a unit of work.
constexpr int64_t perUnit = 96;

// Output channels `from` ..< `to` of `count` pixels.
WEIR_CLONES void convolvePixels(
    int64_t count, int64_t in, int64_t out, int64_t from, int64_t to, const float *x, const float *filters, const float *bias,
    const float *residual, float *y) {
  multiplyAll<true, true>(count, (to - from) / lanes, x, in, 1, Columns{filters + from * in, lanes, in * lanes}, in, y + from, out);
  for (int64_t k = from; k < to; k += lanes) {
    Floats offset{};
    if (bias) load(bias + k, offset);
    for (int64_t pixel = 0; pixel < count; pixel++) {
      Floats sum;
      load(y + pixel * out + k, sum);
      sum += offset;
      if (residual) {
        Floats other;
        load(residual + pixel * out + k, other);
        sum += other;
      }
      store(sum, y + pixel * out + k);
    }
  }
}

// As (out / lanes, in, lanes).
at::Tensor pack(const at::Tensor &weight) {
  TORCH_CHECK(
      weight.dim() == 4 && weight.is_cpu() && weight.scalar_type() == at::kFloat && weight.size(2) == 1 && weight.size(3) == 1 &&
          weight.size(0) % lanes == 0 && weight.size(1) % lanes == 0,
      "this convolution takes f32 1x1 filters on the CPU and channels in multiples of ", lanes, ", not ", weight.scalar_type(), " ",
      weight.sizes());
  return weight.detach().reshape({weight.size(0) / lanes, lanes, weight.size(1)}).transpose(1, 2).contiguous();
}

at::Tensor convolve(
    const at::Tensor &given, const at::Tensor &filters, const std::optional<at::Tensor> &bias, const std::optional<at::Tensor> &residual) {
  TORCH_CHECK(filters.dim() == 3 && filters.size(2) == lanes, "the filters are not packed for this convolution");
  const int64_t in = filters.size(1), out = filters.size(0) * lanes;
  const Operands operands(given, in, out, bias, residual);
  const at::Tensor &x = operands.x, &y = operands.y;
  const int64_t pixels = x.size(0) * x.size(2) * x.size(3), units = (pixels + perUnit - 1) / perUnit, panels = out / lanes;
  const int64_t threads = std::clamp<int64_t>((2 * pixels + readingCost) * in * out / worthwhile, 1, threadsToUse());
  // Where there are too few units for all threads, a unit's output channels are shared out too.
  const int64_t shares = threads == 1 || units == 0 ? 1 : std::clamp<int64_t>((2 * threads + units - 1) / units, 1, panels);
  parallelFor(units * shares, (units * shares + threads - 1) / threads, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; item++) {
      const int64_t first = item / shares * perUnit, share = item % shares;
      convolvePixels(
          std::min(perUnit, pixels - first), in, out, panels * share / shares * lanes, panels * (share + 1) / shares * lanes,
          x.const_data_ptr<float>() + first * in, filters.const_data_ptr<float>(), operands.biasData(), operands.residualData(first * out),
          y.mutable_data_ptr<float>() + first * out);
    }
  });
  return y;
}

}  // namespace

wt_status wt_pack_pointwise_weight(wt_tensor weight, wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    *out = wrap(pack(value(weight)));
  });
}

wt_status wt_conv2d_pointwise(wt_tensor x, wt_tensor packed, wt_tensor bias, wt_tensor residual, wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    *out = wrap(convolve(value(x), value(packed), optional(bias), optional(residual)));
  });
}
