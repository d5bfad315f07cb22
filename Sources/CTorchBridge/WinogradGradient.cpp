// The Winograd convolution for training: its output, and the gradients of all three that went in.
//
// The gradient of the input is the same convolution of the output's gradient, with the filters turned round. That of a filter is the
// transposed chain: G'[sum over tiles of (B' d B) * (A y A')]G, with d the input's and y the output gradient's tile.
//
// Every sum is formed in one order whatever the number of threads.
#include "Internal.hpp"
#include "Parallel.hpp"
#include "Processor.hpp"
#include "Winograd.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

using namespace weir;
using namespace weir::winograd;

namespace {

// Tiles of which both transforms are held at once take about this much, which a last-level cache should hold.
constexpr int64_t heldBytes = 6 << 20;

// A y
WEIR_INLINE void transformGradient(const Floats y[side], Floats out[reach]) {
  const Floats p = y[0] + a2 * y[2], q = a * y[1] + (a2 * a) * y[3], r = y[0] + b2 * y[2], s = b * y[1] + (b2 * b) * y[3];
  out[0] = y[0];
  out[1] = p + q;
  out[2] = p - q;
  out[3] = r + s;
  out[4] = r - s;
  out[5] = y[3];
}

// The output gradient's tile, transformed; beyond the image's edge there is none.
WEIR_INLINE void gatherGradient(const Problem &p, int64_t tile, const float *y, float *to, int64_t stride) {
  const int64_t top = tile / p.across() * side, left = tile % p.across() * side;
  for (int64_t k = 0; k < p.out; k += lanes) {
    Floats columns[side][reach];
    for (int64_t j = 0; j < side; j++) {
      Floats d[side];
      for (int64_t i = 0; i < side; i++) {
        d[i] = Floats{};
        if (top + i < p.height && left + j < p.width) load(y + ((top + i) * p.width + left + j) * p.out + k, d[i]);
      }
      transformGradient(d, columns[j]);
    }
    for (int64_t i = 0; i < reach; i++) {
      const Floats row[side] = {columns[0][i], columns[1][i], columns[2][i], columns[3][i]};
      Floats out[reach];
      transformGradient(row, out);
      for (int64_t j = 0; j < reach; j++) store(out[j], to + (i * reach + j) * stride + k);
    }
  }
}

// Tiles `first` ..< `last` of `count` held ones, which are those from `start` on of all samples' tiles.
WEIR_CLONES void gather(
    const Problem &p, int64_t start, int64_t first, int64_t last, int64_t count, const float *x, const float *y, float *inputs,
    float *gradients) {
  for (int64_t tile = first; tile < last; tile++) {
    const int64_t sample = (start + tile) / p.tiles(), place = (start + tile) % p.tiles(), pixels = p.height * p.width;
    gatherTile(p, place, x + sample * pixels * p.in, inputs + tile * p.in, count * p.in);
    gatherGradient(p, place, y + sample * pixels * p.out, gradients + tile * p.out, count * p.out);
  }
}

// sums (in, out) += inputs' (count, in) * gradients (count, out).
WEIR_CLONES void accumulate(const Problem &p, int64_t count, const float *inputs, const float *gradients, float *sums) {
  multiplyAll<false, false>(
      holdsWholeVectors(), p.in, p.out / lanes, inputs, 1, p.in, Columns<float>{gradients, p.out, lanes}, count, sums, p.out);
}

// G' u
WEIR_INLINE void transformSum(const Floats u[reach], Floats out[3]) {
  const Floats p = u[1] + u[2], q = u[1] - u[2], r = u[3] + u[4], s = u[3] - u[4];
  out[0] = atZero * u[0] + atA * p + atB * r;
  out[1] = (atA * a) * q + (atB * b) * s;
  out[2] = (atA * a2) * p + (atB * b2) * r + u[5];
}

// Numbers `begin` ..< `end` of the `count` at each point, from 36 a filter to nine.
WEIR_CLONES void transformSums(const float *sums, int64_t begin, int64_t end, int64_t count, float *taps) {
  for (int64_t i = begin; i < end; i += lanes) {
    Floats columns[reach][3];
    for (int64_t column = 0; column < reach; column++) {
      Floats u[reach];
      for (int64_t row = 0; row < reach; row++) load(sums + (row * reach + column) * count + i, u[row]);
      transformSum(u, columns[column]);
    }
    for (int64_t row = 0; row < 3; row++) {
      const Floats u[reach] = {columns[0][row], columns[1][row], columns[2][row], columns[3][row], columns[4][row], columns[5][row]};
      Floats out[3];
      transformSum(u, out);
      for (int64_t column = 0; column < 3; column++) store(out[column], taps + (row * 3 + column) * count + i);
    }
  }
}

// Of a filter (out, in, 3, 3). Both tensors are channels-last.
at::Tensor filterGradient(const at::Tensor &x, const at::Tensor &y) {
  const Problem p{x.size(2), x.size(3), x.size(1), y.size(1)};
  const int64_t all = x.size(0) * p.tiles();
  const int64_t held = std::clamp<int64_t>(heldBytes / static_cast<int64_t>(points * sizeof(float)) / (p.in + p.out), 16, all);
  at::Tensor sums = at::zeros({points, p.in, p.out}, x.options());
  at::Tensor inputs = at::empty({points * held * p.in}, x.options()), gradients = at::empty({points * held * p.out}, x.options());
  float *tiles = inputs.mutable_data_ptr<float>(), *others = gradients.mutable_data_ptr<float>(), *total = sums.mutable_data_ptr<float>();
  for (int64_t start = 0; start < all; start += held) {
    const int64_t count = std::min(held, all - start);
    parallelFor(count, 8, [&](int64_t first, int64_t last) {
      gather(p, start, first, last, count, x.const_data_ptr<float>(), y.const_data_ptr<float>(), tiles, others);
    });
    parallelFor(points, 1, [&](int64_t first, int64_t last) {
      for (int64_t point = first; point < last; point++) {
        accumulate(p, count, tiles + point * count * p.in, others + point * count * p.out, total + point * p.in * p.out);
      }
    });
  }
  at::Tensor taps = at::empty({3, 3, p.in, p.out}, x.options());
  parallelFor(p.in, 8, [&](int64_t first, int64_t last) {
    transformSums(total, first * p.out, last * p.out, p.in * p.out, taps.mutable_data_ptr<float>());
  });
  return taps.permute({3, 2, 0, 1}).contiguous();
}

struct TrainedConvolution : torch::autograd::Function<TrainedConvolution> {
  static at::Tensor forward(
      torch::autograd::AutogradContext *context, const at::Tensor &given, const at::Tensor &weight, const at::Tensor &bias) {
    TORCH_CHECK(
        weight.dim() == 4 && weight.size(0) % lanes == 0 && weight.size(1) % lanes == 0,
        "a trained Winograd convolution takes channels in multiples of ", lanes, ", not a filter of ", weight.sizes());
    const at::Tensor x = given.contiguous(at::MemoryFormat::ChannelsLast);
    context->save_for_backward({x, weight});
    return convolve(x, pack(weight), weight.size(0), bias, std::nullopt);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], y = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
    at::Tensor input, filter, bias;
    if (context->needs_input_grad(0)) {
      input = convolve(y, pack(weight.flip({2, 3}).transpose(0, 1)), weight.size(1), std::nullopt, std::nullopt);
    }
    if (context->needs_input_grad(1)) filter = filterGradient(x, y);
    if (context->needs_input_grad(2)) bias = y.sum({0, 2, 3});
    return {input, filter, bias};
  }
};

}  // namespace

wt_status wt_conv2d_trained(wt_tensor x, wt_tensor weight, wt_tensor bias, wt_tensor *out) {
  return guarded([&] { *out = wrap(TrainedConvolution::apply(value(x), value(weight), value(bias))); });
}
