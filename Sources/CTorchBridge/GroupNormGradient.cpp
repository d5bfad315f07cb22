// The fused GroupNorm for training: its output, and the gradients of all that went in, each in two passes over memory.
//
// With z = (x - m) a + b and y = silu(z), dz = dy silu'(z). A channel's sums of dz and dz (x - m) give the gradients of weight, bias, scale and
// shift; a group's sums of those times a give what the mean and the deviation owe, so that dx = a dz + e + f (x - m) with two numbers a channel.
//
// Every sum is formed in one order whatever the number of threads.
#include "GroupNorm.hpp"
#include "Internal.hpp"
#include "Parallel.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

using namespace weir;

namespace {

// Units of work that a thread should at least get.
constexpr int64_t grain = 4;

// dy becomes dz.
template <bool Silu>
WEIR_INLINE void beforeSilu(Floats &dy, const Floats &z) {
  if constexpr (!Silu) return;
  Floats power = -z;
  exponential(power);
  const Floats sigmoid = 1.0f / (1.0f + power);
  dy *= sigmoid + z * sigmoid * (1.0f - sigmoid);
}

// Of `count` rows: each channel's sums of dz and of dz (x - m).
template <bool Silu, class Element>
WEIR_INLINE void sumRows(
    const Element *x, const Element *dy, int64_t count, int64_t channels, const Coefficients &k, double *sums, double *products) {
  for (int64_t c = 0; c < channels; c += lanes) {
    Floats mean, factor, constant;
    load(k.m + c, mean);
    load(k.a + c, factor);
    load(k.b + c, constant);
    double total[lanes] = {}, totalProducts[lanes] = {};
    for (int64_t start = 0; start < count; start += runLength) {
      const int64_t end = std::min(count, start + runLength);
      Floats s{}, q{};
      for (int64_t row = start; row < end; row++) {
        Floats value, dz;
        load(x + row * channels + c, value);
        load(dy + row * channels + c, dz);
        const Floats distance = value - mean;
        beforeSilu<Silu>(dz, distance * factor + constant);
        s += dz;
        q += dz * distance;
      }
      for (int lane = 0; lane < lanes; lane++) {
        total[lane] += s[lane];
        totalProducts[lane] += q[lane];
      }
    }
    std::memcpy(sums + c, total, sizeof total);
    std::memcpy(products + c, totalProducts, sizeof totalProducts);
  }
}

template <bool Silu, class Element>
WEIR_INLINE void applyRows(
    const Element *x, const Element *dy, Element *dx, int64_t count, int64_t channels, const Coefficients &k, const float *e,
    const float *f) {
  for (int64_t row = 0; row < count; row++) {
    for (int64_t c = 0; c < channels; c += lanes) {
      const int64_t at = row * channels + c;
      Floats mean, factor, constant, offset, slope, value, dz;
      load(k.m + c, mean);
      load(k.a + c, factor);
      load(k.b + c, constant);
      load(e + c, offset);
      load(f + c, slope);
      load(x + at, value);
      load(dy + at, dz);
      const Floats distance = value - mean;
      beforeSilu<Silu>(dz, distance * factor + constant);
      store(dz * factor + offset + distance * slope, dx + at);
    }
  }
}

#define WEIR_FOR_ELEMENT(Element)                                                                                                         \
  WEIR_CLONES void sumRowsOf(                                                                                                             \
      bool silu, const Element *x, const Element *dy, int64_t n, int64_t c, const Coefficients &k, double *s, double *q) {                \
    silu ? sumRows<true>(x, dy, n, c, k, s, q) : sumRows<false>(x, dy, n, c, k, s, q);                                                    \
  }                                                                                                                                       \
  WEIR_CLONES void applyRowsOf(                                                                                                           \
      bool silu, const Element *x, const Element *dy, Element *dx, int64_t n, int64_t c, const Coefficients &k, const float *e,           \
      const float *f) {                                                                                                                   \
    silu ? applyRows<true>(x, dy, dx, n, c, k, e, f) : applyRows<false>(x, dy, dx, n, c, k, e, f);                                        \
  }
WEIR_FOR_ELEMENT(float)
WEIR_FOR_ELEMENT(BFloat16)

// dx, and of every sample and channel the sums of dz and of dz times the normalised x, (N, C) f32.
template <class Element>
void run(
    const at::Tensor &x, const at::Tensor &dy, const at::Tensor &kept, int64_t groups, bool silu, at::Tensor &dx, at::Tensor &sumsOut,
    at::Tensor &productsOut) {
  const int64_t samples = x.size(0), c = x.size(1), pixels = x.numel() / (samples * c), size = pixels * c, width = c / groups;
  const int64_t rows = std::clamp<int64_t>(unitElements / c, 1, pixels), units = (pixels + rows - 1) / rows;
  const auto from = static_cast<const Element *>(x.const_data_ptr()), gradient = static_cast<const Element *>(dy.const_data_ptr());
  const auto to = static_cast<Element *>(dx.mutable_data_ptr());
  const auto all = Coefficients::of(kept);
  std::vector<double> sums(samples * units * c), products(samples * units * c);
  parallelFor(samples * units, grain, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; unit++) {
      const int64_t sample = unit / units, row = unit % units * rows, at = sample * size + row * c;
      sumRowsOf(
          silu, from + at, gradient + at, std::min(rows, pixels - row), c, all.from(sample * c), &sums[unit * c], &products[unit * c]);
    }
  });
  std::vector<float> e(samples * c), f(samples * c);
  float *sumsTo = sumsOut.mutable_data_ptr<float>(), *productsTo = productsOut.mutable_data_ptr<float>();
  for (int64_t sample = 0; sample < samples; sample++) {
    double *total = &sums[sample * units * c], *totalProducts = &products[sample * units * c];
    for (int64_t unit = 1; unit < units; unit++) {
      for (int64_t i = 0; i < c; i++) {
        total[i] += total[unit * c + i];
        totalProducts[i] += totalProducts[unit * c + i];
      }
    }
    for (int64_t first = 0; first < c; first += width) {
      const double scale = all.inverse[sample * c + first], elements = static_cast<double>(width * pixels);
      double mean = 0, slope = 0;
      for (int64_t i = first; i < first + width; i++) {
        const double factor = all.a[sample * c + i];
        mean += factor * total[i];
        slope += factor * totalProducts[i];
      }
      for (int64_t i = first; i < first + width; i++) {
        e[sample * c + i] = static_cast<float>(-mean / elements);
        f[sample * c + i] = static_cast<float>(-slope / elements * scale * scale);
        sumsTo[sample * c + i] = static_cast<float>(total[i]);
        productsTo[sample * c + i] = static_cast<float>(totalProducts[i] * scale);
      }
    }
  }
  parallelFor(samples * units, grain, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; unit++) {
      const int64_t sample = unit / units, row = unit % units * rows, at = sample * size + row * c, k = sample * c;
      applyRowsOf(
          silu, from + at, gradient + at, to + at, std::min(rows, pixels - row), c, all.from(k), e.data() + k, f.data() + k);
    }
  });
}

struct TrainedGroupNorm : torch::autograd::Function<TrainedGroupNorm> {
  static at::Tensor forward(
      torch::autograd::AutogradContext *context, const at::Tensor &given, int64_t groups, const at::Tensor &weight, const at::Tensor &bias,
      double eps, const std::optional<at::Tensor> &scale, const std::optional<at::Tensor> &shift, bool silu) {
    const at::Tensor x = given.contiguous(at::MemoryFormat::ChannelsLast);
    at::Tensor kept;
    const at::Tensor y = fusedGroupNorm(x, groups, weight, bias, eps, scale, shift, silu, false, &kept);
    context->save_for_backward({x, weight, bias, scale.value_or(at::Tensor()), kept});
    context->saved_data["groups"] = groups;
    context->saved_data["silu"] = silu;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], &scale = saved[3], &kept = saved[4];
    const at::Tensor dy = gradients[0].to(x.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
    at::Tensor dx = at::empty_like(x), sums = at::empty({x.size(0), x.size(1)}, kept.options()), products = at::empty_like(sums);
    const int64_t groups = context->saved_data["groups"].toInt();
    const bool silu = context->saved_data["silu"].toBool();
    x.scalar_type() == at::kFloat ? run<float>(x, dy, kept, groups, silu, dx, sums, products)
                                  : run<BFloat16>(x, dy, kept, groups, silu, dx, sums, products);
    at::Tensor dScale, dShift;
    if (scale.defined()) {
      dScale = products * weight + sums * bias;
      dShift = sums;
      products = products * (scale + 1);
      sums = sums * (scale + 1);
    }
    return {dx, {}, products.sum(0), sums.sum(0), {}, dScale, dShift, {}};
  }
};

}  // namespace

wt_status wt_trained_group_norm(
    wt_tensor x, int64_t groups, wt_tensor weight, wt_tensor bias, double eps, wt_tensor scale, wt_tensor shift, bool silu, wt_tensor *out) {
  return guarded([&] {
    const at::Tensor &input = value(x);
    TORCH_CHECK(
        input.is_cpu() && input.dim() == 4 && input.numel() > 0 && input.size(1) % lanes == 0,
        "the GroupNorm for training takes (N, C, H, W) on the CPU with C a multiple of ", lanes, ", not ", input.sizes());
    TORCH_CHECK((scale == nullptr) == (shift == nullptr), "scale and shift go together");
    *out = wrap(TrainedGroupNorm::apply(input, groups, value(weight), value(bias), eps, optional(scale), optional(shift), silu));
  });
}
