// 1x1 convolution: the sums of a pixel are formed in the channels' order, whatever the batch, its size and the number of threads.
#include "Internal.hpp"
#include "NativeBF16.hpp"
#include "Operands.hpp"
#include "Parallel.hpp"
#include "Pointwise.hpp"
#include "Processor.hpp"
#include "Scratch.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

using namespace weir;
using namespace weir::pointwise;

namespace {

WEIR_CLONES void convolveF32(
    const Data<float, float> &data, int64_t first, int64_t count, int64_t from, int64_t to, float *sums, float *rows) {
  convolvePixels(data, holdsWholeVectors(), first, count, from, to, sums, rows);
}

WEIR_CLONES void convolveBF16(
    const Data<BFloat16, float> &data, int64_t first, int64_t count, int64_t from, int64_t to, float *sums, float *rows) {
  convolvePixels(data, holdsWholeVectors(), first, count, from, to, sums, rows);
}

template <class Element, class Number>
using Unit = void(
    const Data<Element, Number> &data, int64_t first, int64_t count, int64_t from, int64_t to, float *sums, Number *rows);

template <class Element, class Number>
void run(int64_t in, int64_t out, const Operands &operands, const at::Tensor &filters, Unit<Element, Number> *convolve) {
  const Data<Element, Number> data{
      in, out, elements<Element>(operands.x), elements<Number>(filters), elements<Element>(operands.bias),
      elements<Element>(operands.residual), static_cast<Element *>(operands.y.mutable_data_ptr())};
  const int64_t pixels = operands.y.numel() / out, units = (pixels + perUnit - 1) / perUnit, panels = out / lanes;
  const int64_t threads = std::clamp<int64_t>((2 * pixels + readingCost) * in * out / worthwhile, 1, threadsToUse());
  // Where there are too few units for all threads, a unit's output channels are shared out too.
  const int64_t shares = threads == 1 || units == 0 ? 1 : std::clamp<int64_t>((2 * threads + units - 1) / units, 1, panels);
  parallelFor(units * shares, (units * shares + threads - 1) / threads, [&](int64_t begin, int64_t end) {
    float *sums = scratch(perUnit * (vectorsTogether * lanes + in));
    const auto rows = reinterpret_cast<Number *>(sums + perUnit * vectorsTogether * lanes);
    for (int64_t item = begin; item < end; item++) {
      const int64_t first = item / shares * perUnit, share = item % shares;
      convolve(
          data, first, std::min(perUnit, pixels - first), panels * share / shares * lanes, panels * (share + 1) / shares * lanes, sums, rows);
    }
  });
}

// As (out / lanes, in, lanes): in bf16, two terms side by side, where the weight is in bf16 and the processor multiplies that, otherwise in f32.
at::Tensor pack(const at::Tensor &weight) {
  const at::ScalarType type = weight.scalar_type();
  TORCH_CHECK(
      weight.dim() == 4 && weight.is_cpu() && isF32OrBF16(weight) && weight.size(2) == 1 && weight.size(3) == 1 &&
          weight.size(0) % lanes == 0 && weight.size(1) % lanes == 0,
      "this convolution takes f32 or bf16 1x1 filters on the CPU and channels in multiples of ", lanes, ", not ", type, " ", weight.sizes());
  const at::Tensor filters =
      weight.detach().to(at::kFloat).reshape({weight.size(0) / lanes, lanes, weight.size(1)}).transpose(1, 2).contiguous();
  return type == at::kBFloat16 && multipliesBF16() ? withPairedTerms(filters) : filters;
}

at::Tensor convolve(
    const at::Tensor &given, const at::Tensor &filters, const std::optional<at::Tensor> &bias, const std::optional<at::Tensor> &residual) {
  TORCH_CHECK(filters.dim() == 3 && filters.size(2) == lanes, "the filters are not packed for this convolution");
  const int64_t in = filters.size(1), out = filters.size(0) * lanes;
  const Operands operands(given, in, out, bias, residual);
  switch (productType(operands.x, filters)) {
    case ProductType::f32: run<float, float>(in, out, operands, filters, convolveF32); break;
    case ProductType::f32OfBF16: run<BFloat16, float>(in, out, operands, filters, convolveBF16); break;
    case ProductType::native: run<NativeBFloat16, NativeBFloat16>(in, out, operands, filters, convolvePixelsNatively); break;
  }
  return operands.y;
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
