// 1x1 convolution in f32: the sums of a pixel are formed in the channels' order, whatever the batch, its size and the number of threads.
#include "Internal.hpp"
#include "Operands.hpp"
#include "Parallel.hpp"
#include "Products.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

using namespace weir;

namespace {

// Pixels of a unit of work.
constexpr int64_t perUnit = 96;

WEIR_CLONES void convolvePixels(
    int64_t count, int64_t in, int64_t out, const float *x, const float *filters, const float *bias,
    const float *residual, float *y) {
  for (int64_t k = 0; k < out; k += lanes) {
    const float *panel = filters + k * in;
    int64_t pixel = 0;
    for (; pixel + together <= count; pixel += together) {
      multiply<together, true>(x + pixel * in, in, 1, panel, lanes, in, y + pixel * out + k, out);
    }
    for (; pixel < count; pixel++) multiply<1, true>(x + pixel * in, in, 1, panel, lanes, in, y + pixel * out + k, out);
    Floats offset{};
    if (bias) load(bias + k, offset);
    for (pixel = 0; pixel < count; pixel++) {
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
  const int64_t pixels = x.size(0) * x.size(2) * x.size(3), units = (pixels + perUnit - 1) / perUnit;
  parallelFor(units, worthwhile / (2 * perUnit * in * out) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; unit++) {
      const int64_t first = unit * perUnit, count = std::min(perUnit, pixels - first);
      convolvePixels(
          count, in, out, x.const_data_ptr<float>() + first * in, filters.const_data_ptr<float>(),
          operands.biasData(), operands.residualData(first * out), y.mutable_data_ptr<float>() + first * out);
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
