// Attention over a channels-last image, in f32, softmax(q k' / sqrt(width)) v, one head of one sample at a time: its sums are formed in one order,
// whatever the batch, its size and the number of threads, and no matrix of all scores is made.
#include "GroupNorm.hpp"
#include "Internal.hpp"
#include "Parallel.hpp"
#include "Processor.hpp"
#include "Products.hpp"
#include "Scratch.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <limits>

using namespace weir;

namespace {

// One head of one sample: `width` channels of each pixel's query, key and value, which are `from` numbers from one pixel to the next.
struct Head {
  const float *query, *key, *value;
  int64_t from, pixels, width;

  // In whole vectors.
  int64_t padded() const { return (pixels + lanes - 1) / lanes * lanes; }
};

// Scores become exp(score * scale - the largest); what is left to divide by is returned. Those behind the last pixel become zeros.
WEIR_INLINE float exponentials(const Head &head, float scale, float *scores) {
  float most = -std::numeric_limits<float>::infinity();
  for (int64_t pixel = 0; pixel < head.pixels; pixel++) most = std::max(most, scores[pixel]);
  Floats sums{};
  for (int64_t pixel = 0; pixel < head.padded(); pixel += lanes) {
    Floats power;
    load(scores + pixel, power);
    power = (power - most) * scale;
    exponential(power);
    for (int64_t lane = head.pixels - pixel; lane < lanes; lane++) power[lane] = 0;
    sums += power;
    store(power, scores + pixel);
  }
  float sum = 0;
  for (int64_t lane = 0; lane < lanes; lane++) sum += sums[lane];
  return sum;
}

// `keys` and `scores` are scratch for `width` and `together` times the padded number of pixels.
WEIR_CLONES void attend(const Head &head, float *y, int64_t toNext, float *keys, float *scores) {
  const int64_t padded = head.padded();
  const bool inPairs = holdsWholeVectors();
  for (int64_t pixel = 0; pixel < padded; pixel++) {
    for (int64_t c = 0; c < head.width; c++) {
      keys[(pixel / lanes * head.width + c) * lanes + pixel % lanes] = pixel < head.pixels ? head.key[pixel * head.from + c] : 0.0f;
    }
  }
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head.width)));
  for (int64_t first = 0; first < head.pixels; first += together) {
    const int64_t rows = std::min<int64_t>(together, head.pixels - first);
    multiplyAll<true, false>(
        inPairs, rows, padded / lanes, head.query + first * head.from, head.from, 1, Columns<float>{keys, lanes, head.width * lanes},
        head.width, scores, padded);
    float whole[together];
    for (int64_t row = 0; row < rows; row++) whole[row] = exponentials(head, scale, scores + row * padded);
    multiplyAll<true, false>(
        inPairs, rows, head.width / lanes, scores, padded, 1, Columns<float>{head.value, head.from, lanes}, head.pixels, y + first * toNext,
        toNext);
    for (int64_t c = 0; c < head.width; c += lanes) {
      for (int64_t row = 0; row < rows; row++) {
        float *to = y + (first + row) * toNext + c;
        Floats mean;
        load(to, mean);
        mean = mean / whole[row];
        store(mean, to);
      }
    }
  }
}

at::Tensor attention(const at::Tensor &given, int64_t heads, bool newOrder) {
  TORCH_CHECK(
      given.dim() == 4 && given.is_cpu() && isF32OrBF16(given) && heads > 0 &&
          given.size(1) % (3 * heads * lanes) == 0,
      "attention takes f32 or bf16 (N, 3 * heads * width, H, W) on the CPU with a width in multiples of ", lanes, ", not ",
      given.scalar_type(), " ", given.sizes(), " and ", heads, " heads");
  const at::Tensor x = given.to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast);
  const int64_t channels = x.size(1) / 3, width = channels / heads, pixels = x.size(2) * x.size(3);
  at::Tensor y = at::empty({x.size(0), channels, x.size(2), x.size(3)}, x.options(), at::MemoryFormat::ChannelsLast);
  const float *from = x.const_data_ptr<float>();
  float *to = y.mutable_data_ptr<float>();
  if (y.numel() == 0) return y.to(given.scalar_type());
  parallelFor(x.size(0) * heads, worthwhile / (4 * pixels * pixels * width) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; item++) {
      const int64_t sample = item / heads, index = item % heads;
      const int64_t query = newOrder ? index * width : 3 * index * width, apart = newOrder ? channels : width;
      const float *first = from + sample * pixels * 3 * channels + query;
      const Head head{first, first + apart, first + 2 * apart, 3 * channels, pixels, width};
      float *keys = scratch((width + together) * head.padded());
      attend(head, to + sample * pixels * channels + index * width, channels, keys, keys + width * head.padded());
    }
  });
  return y.to(given.scalar_type());
}

}  // namespace

wt_status wt_attention(wt_tensor qkv, int64_t heads, bool new_order, wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    *out = wrap(attention(value(qkv), heads, new_order));
  });
}
