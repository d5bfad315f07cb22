// What lies between the convolutions of a U-Net, in f32 over channels-last images on several threads: images joined by their channels, made twice
// as large, made half as large. Each number comes from its own sample's alone.
#include "Internal.hpp"
#include "Parallel.hpp"
#include "Vectors.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

using namespace weir;

namespace {

WEIR_INLINE void copy(const float *from, int64_t channels, float *to) {
  for (int64_t c = 0; c < channels; c += lanes) {
    Floats numbers;
    load(from + c, numbers);
    store(numbers, to + c);
  }
}

WEIR_CLONES void joinPixels(int64_t begin, int64_t end, int64_t a, int64_t b, const float *from, const float *other, float *to) {
  for (int64_t pixel = begin; pixel < end; pixel++) {
    copy(from + pixel * a, a, to + pixel * (a + b));
    copy(other + pixel * b, b, to + pixel * (a + b) + a);
  }
}

// Rows `begin` ..< `end` of the small images, `width` pixels each, to twice as many.
WEIR_CLONES void enlargeRows(int64_t begin, int64_t end, int64_t width, int64_t channels, const float *from, float *to) {
  for (int64_t row = begin; row < end; row++) {
    for (int64_t column = 0; column < width; column++) {
      const float *pixel = from + (row * width + column) * channels;
      float *above = to + (4 * row * width + 2 * column) * channels, *below = above + 2 * width * channels;
      copy(pixel, channels, above);
      copy(pixel, channels, above + channels);
      copy(pixel, channels, below);
      copy(pixel, channels, below + channels);
    }
  }
}

// Rows `begin` ..< `end` of the small images, `width` pixels each, from twice as many.
WEIR_CLONES void shrinkRows(int64_t begin, int64_t end, int64_t width, int64_t channels, const float *from, float *to) {
  for (int64_t row = begin; row < end; row++) {
    for (int64_t column = 0; column < width; column++) {
      const float *above = from + (4 * row * width + 2 * column) * channels, *below = above + 2 * width * channels;
      for (int64_t c = 0; c < channels; c += lanes) {
        Floats p, q, r, s;
        load(above + c, p);
        load(above + channels + c, q);
        load(below + c, r);
        load(below + channels + c, s);
        p = (p + q + r + s) * 0.25f;
        store(p, to + (row * width + column) * channels + c);
      }
    }
  }
}

at::Tensor checked(const at::Tensor &x) {
  TORCH_CHECK(
      x.dim() == 4 && x.is_cpu() && x.scalar_type() == at::kFloat && x.size(1) % lanes == 0,
      "this takes f32 (N, C, H, W) on the CPU with C in multiples of ", lanes, ", not ", x.scalar_type(), " ", x.sizes());
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor image(const at::Tensor &like, int64_t channels, int64_t height, int64_t width) {
  return at::empty({like.size(0), channels, height, width}, like.options(), at::MemoryFormat::ChannelsLast);
}

// Iterations that read and write `numbers` numbers each, of which a thread should at least get.
int64_t grain(int64_t numbers) { return worthwhile / (readingCost * numbers) + 1; }

}  // namespace

wt_status wt_join_channels(wt_tensor first, wt_tensor second, wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    const at::Tensor x = checked(value(first)), other = checked(value(second));
    TORCH_CHECK(
        x.size(0) == other.size(0) && x.size(2) == other.size(2) && x.size(3) == other.size(3), "images ", x.sizes(), " and ",
        other.sizes(), " differ in more than their channels");
    const int64_t a = x.size(1), b = other.size(1);
    const at::Tensor y = image(x, a + b, x.size(2), x.size(3));
    parallelFor(x.size(0) * x.size(2) * x.size(3), grain(a + b), [&](int64_t begin, int64_t end) {
      joinPixels(begin, end, a, b, x.const_data_ptr<float>(), other.const_data_ptr<float>(), y.mutable_data_ptr<float>());
    });
    *out = wrap(y);
  });
}

wt_status wt_enlarge2x(wt_tensor given, wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    const at::Tensor x = checked(value(given)), y = image(x, x.size(1), 2 * x.size(2), 2 * x.size(3));
    parallelFor(x.size(0) * x.size(2), grain(4 * x.size(3) * x.size(1)), [&](int64_t begin, int64_t end) {
      enlargeRows(begin, end, x.size(3), x.size(1), x.const_data_ptr<float>(), y.mutable_data_ptr<float>());
    });
    *out = wrap(y);
  });
}

wt_status wt_shrink2x(wt_tensor given, wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    const at::Tensor x = checked(value(given));
    TORCH_CHECK(x.size(2) % 2 == 0 && x.size(3) % 2 == 0, "an image of ", x.sizes(), " has no half");
    const at::Tensor y = image(x, x.size(1), x.size(2) / 2, x.size(3) / 2);
    parallelFor(y.size(0) * y.size(2), grain(4 * y.size(3) * y.size(1)), [&](int64_t begin, int64_t end) {
      shrinkRows(begin, end, y.size(3), y.size(1), x.const_data_ptr<float>(), y.mutable_data_ptr<float>());
    });
    *out = wrap(y);
  });
}
