// What lies between the convolutions of a U-Net, in f32 or bf16 over channels-last images on several threads: images joined by their channels, made twice
// as large, made half as large. Each number comes from its own sample's alone.
#include "Internal.hpp"
#include "Operands.hpp"
#include "Parallel.hpp"
#include "Vectors.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

using namespace weir;

namespace {

template <class Element>
WEIR_INLINE void copy(const Element *from, int64_t channels, Element *to) {
  for (int64_t c = 0; c < channels; c += lanes) {
    Floats numbers;
    load(from + c, numbers);
    store(numbers, to + c);
  }
}

template <class Element>
WEIR_INLINE void joinPixels(int64_t begin, int64_t end, int64_t a, int64_t b, const Element *from, const Element *other, Element *to) {
  for (int64_t pixel = begin; pixel < end; pixel++) {
    copy(from + pixel * a, a, to + pixel * (a + b));
    copy(other + pixel * b, b, to + pixel * (a + b) + a);
  }
}

// Rows `begin` ..< `end` of the small images, `width` pixels each, to twice as many.
template <class Element>
WEIR_INLINE void enlargeRows(int64_t begin, int64_t end, int64_t width, int64_t channels, const Element *from, Element *to) {
  for (int64_t row = begin; row < end; row++) {
    for (int64_t column = 0; column < width; column++) {
      const Element *pixel = from + (row * width + column) * channels;
      Element *above = to + (4 * row * width + 2 * column) * channels, *below = above + 2 * width * channels;
      copy(pixel, channels, above);
      copy(pixel, channels, above + channels);
      copy(pixel, channels, below);
      copy(pixel, channels, below + channels);
    }
  }
}

// Rows `begin` ..< `end` of the small images, `width` pixels each, from twice as many.
template <class Element>
WEIR_INLINE void shrinkRows(int64_t begin, int64_t end, int64_t width, int64_t channels, const Element *from, Element *to) {
  for (int64_t row = begin; row < end; row++) {
    for (int64_t column = 0; column < width; column++) {
      const Element *above = from + (4 * row * width + 2 * column) * channels, *below = above + 2 * width * channels;
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

// The clones: one set of machine code per instruction set, chosen when the program is loaded.
#define WEIR_FOR_ELEMENT(Element) \
  WEIR_CLONES void join(int64_t begin, int64_t end, int64_t a, int64_t b, const Element *from, const Element *other, Element *to) { \
    joinPixels(begin, end, a, b, from, other, to); \
  } \
  WEIR_CLONES void enlarge(int64_t begin, int64_t end, int64_t width, int64_t channels, const Element *from, Element *to) { \
    enlargeRows(begin, end, width, channels, from, to); \
  } \
  WEIR_CLONES void shrink(int64_t begin, int64_t end, int64_t width, int64_t channels, const Element *from, Element *to) { \
    shrinkRows(begin, end, width, channels, from, to); \
  }
WEIR_FOR_ELEMENT(float)
WEIR_FOR_ELEMENT(BFloat16)

// body(an element of x's type)
template <class Body>
void withElement(const at::Tensor &x, const Body &body) {
  x.scalar_type() == at::kFloat ? body(float{}) : body(BFloat16{});
}

at::Tensor checked(const at::Tensor &x) {
  TORCH_CHECK(
      x.dim() == 4 && x.is_cpu() && isF32OrBF16(x) && x.size(1) % lanes == 0,
      "this takes f32 or bf16 (N, C, H, W) on the CPU with C in multiples of ", lanes, ", not ", x.scalar_type(), " ", x.sizes());
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
        x.scalar_type() == other.scalar_type() && x.size(0) == other.size(0) && x.size(2) == other.size(2) && x.size(3) == other.size(3),
        "images ", x.scalar_type(), " ", x.sizes(), " and ", other.scalar_type(), " ", other.sizes(), " differ in more than their channels");
    const int64_t a = x.size(1), b = other.size(1);
    const at::Tensor y = image(x, a + b, x.size(2), x.size(3));
    withElement(x, [&](auto element) {
      using Element = decltype(element);
      parallelFor(x.size(0) * x.size(2) * x.size(3), grain(a + b), [&](int64_t begin, int64_t end) {
        join(begin, end, a, b, elements<Element>(x), elements<Element>(other), static_cast<Element *>(y.mutable_data_ptr()));
      });
    });
    *out = wrap(y);
  });
}

wt_status wt_enlarge2x(wt_tensor given, wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    const at::Tensor x = checked(value(given)), y = image(x, x.size(1), 2 * x.size(2), 2 * x.size(3));
    withElement(x, [&](auto element) {
      using Element = decltype(element);
      parallelFor(x.size(0) * x.size(2), grain(4 * x.size(3) * x.size(1)), [&](int64_t begin, int64_t end) {
        enlarge(begin, end, x.size(3), x.size(1), elements<Element>(x), static_cast<Element *>(y.mutable_data_ptr()));
      });
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
    withElement(x, [&](auto element) {
      using Element = decltype(element);
      parallelFor(y.size(0) * y.size(2), grain(4 * y.size(3) * y.size(1)), [&](int64_t begin, int64_t end) {
        shrink(begin, end, y.size(3), y.size(1), elements<Element>(x), static_cast<Element *>(y.mutable_data_ptr()));
      });
    });
    *out = wrap(y);
  });
}
