// 3x3 convolution in f32 by Winograd's minimal filtering, F(4x4, 3x3) (Lavin & Gray 2015): 36 products a channel pair make 16 outputs, where the
// plain sum takes 144.
//
// An output is A'[(G g G') * (B' d B)]A of its 6x6 input tile d and the filter g, the products summed over the input channels. The
// interpolation points are 0, +-5/8, +-3/2 and infinity: exact in binary and near one another in size, so that rounding costs about twice what
// it costs the plain sum. With the usual 0, +-1, +-2 it is seven times.
//
// The bytes of a tile depend on that tile alone: neither on the batch nor on how tiles are shared out.
#include "Internal.hpp"
#include "Vectors.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

using namespace weir;

namespace {

constexpr int points = 36;
// Outputs of a tile, and inputs, in each direction.
constexpr int64_t side = 4, reach = 6;
// Tiles whose products are formed together: their sums fill the registers.
constexpr int together = 6;
// A block of tiles and its products should stay in a second-level cache.
constexpr int64_t blockBytes = 128 << 10;

constexpr float a = 0.625f, b = 1.5f, a2 = a * a, b2 = b * b;

struct Problem {
  int64_t height, width, in, out;

  int64_t across() const { return (width + side - 1) / side; }
  int64_t tiles() const { return across() * ((height + side - 1) / side); }
  int64_t tilesPerBlock() const {
    const int64_t fitting = blockBytes / static_cast<int64_t>(points * sizeof(float)) / (in + out);
    return std::clamp<int64_t>(fitting / together * together, together, (tiles() + together - 1) / together * together);
  }
};

// B' d
WEIR_INLINE void transformInput(
    const Floats &d0, const Floats &d1, const Floats &d2, const Floats &d3, const Floats &d4, const Floats &d5, Floats out[reach]) {
  const Floats e = d4 - b2 * d2, f = a * (d3 - b2 * d1), g = d4 - a2 * d2, h = b * (d3 - a2 * d1);
  out[0] = d4 - (a2 + b2) * d2 + (a2 * b2) * d0;
  out[1] = e + f;
  out[2] = e - f;
  out[3] = g + h;
  out[4] = g - h;
  out[5] = d5 - (a2 + b2) * d3 + (a2 * b2) * d1;
}

// A' m
WEIR_INLINE void transformOutput(const Floats m[reach], Floats out[side]) {
  const Floats p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], s = m[3] - m[4];
  out[0] = m[0] + p + r;
  out[1] = a * q + b * s;
  out[2] = a2 * p + b2 * r;
  out[3] = (a2 * a) * q + (b2 * b) * s + m[5];
}

// Of `rows` tiles at one point, the sums over all input channels for `lanes` output channels.
template <int rows>
WEIR_INLINE void multiply(const float *tiles, const float *filters, const Problem &p, float *products) {
  Floats sums[rows] = {};
  for (int64_t c = 0; c < p.in; c++) {
    Floats filter;
    load(filters + c * lanes, filter);
    for (int row = 0; row < rows; row++) sums[row] += tiles[row * p.in + c] * filter;
  }
  for (int row = 0; row < rows; row++) store(sums[row], products + row * p.out);
}

// Tiles `first` ..< `first + count` of one sample. `tiles` and `products` are scratch for (points, count, in) and (points, count, out) numbers.
WEIR_CLONES void convolveTiles(
    const Problem &p, int64_t first, int64_t count, const float *x, const float *filters, const float *bias, const float *residual, float *y,
    float *tiles, float *products) {
  for (int64_t tile = 0; tile < count; tile++) {
    const int64_t top = (first + tile) / p.across() * side - 1, left = (first + tile) % p.across() * side - 1;
    const bool isInside = top >= 0 && left >= 0 && top + reach <= p.height && left + reach <= p.width;
    for (int64_t c = 0; c < p.in; c += lanes) {
      Floats columns[reach][reach];
      for (int64_t j = 0; j < reach; j++) {
        Floats d[reach];
        for (int64_t i = 0; i < reach; i++) {
          const int64_t row = top + i, column = left + j;
          if (isInside || (row >= 0 && row < p.height && column >= 0 && column < p.width)) {
            load(x + (row * p.width + column) * p.in + c, d[i]);
          } else {
            d[i] = Floats{};
          }
        }
        transformInput(d[0], d[1], d[2], d[3], d[4], d[5], columns[j]);
      }
      for (int64_t i = 0; i < reach; i++) {
        Floats row[reach];
        transformInput(columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i], columns[5][i], row);
        for (int64_t j = 0; j < reach; j++) store(row[j], tiles + ((i * reach + j) * count + tile) * p.in + c);
      }
    }
  }
  for (int64_t point = 0; point < points; point++) {
    for (int64_t k = 0; k < p.out; k += lanes) {
      const float *from = tiles + point * count * p.in, *panel = filters + (point * p.out + k) * p.in;
      float *to = products + point * count * p.out + k;
      int64_t tile = 0;
      for (; tile + together <= count; tile += together) multiply<together>(from + tile * p.in, panel, p, to + tile * p.out);
      for (; tile + 2 <= count; tile += 2) multiply<2>(from + tile * p.in, panel, p, to + tile * p.out);
      for (; tile < count; tile++) multiply<1>(from + tile * p.in, panel, p, to + tile * p.out);
    }
  }
  for (int64_t tile = 0; tile < count; tile++) {
    const int64_t top = (first + tile) / p.across() * side, left = (first + tile) % p.across() * side;
    const int64_t rows = std::min(side, p.height - top), columns = std::min(side, p.width - left);
    for (int64_t k = 0; k < p.out; k += lanes) {
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

// G g G', as (36, out / lanes, in, lanes).
at::Tensor pack(const at::Tensor &weight) {
  TORCH_CHECK(
      weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3 && weight.size(0) % lanes == 0 && weight.size(1) % lanes == 0,
      "a Winograd convolution takes 3x3 filters and channels in multiples of ", lanes, ", not ", weight.sizes());
  const double pa = a, pb = b, na = 1 / (2 * pa * pa * (pa * pa - pb * pb)), nb = 1 / (2 * pb * pb * (pb * pb - pa * pa));
  const double n0 = 1 / (pa * pa * pb * pb);
  const at::Tensor g = at::tensor(
                           {n0, 0.0, 0.0, na, pa * na, pa * pa * na, na, -pa * na, pa * pa * na, nb, pb * nb, pb * pb * nb, nb, -pb * nb,
                            pb * pb * nb, 0.0, 0.0, 1.0},
                           at::kDouble)
                           .reshape({reach, 3});
  const int64_t out = weight.size(0), in = weight.size(1);
  const at::Tensor filters = g.matmul(weight.detach().to(at::kDouble)).matmul(g.t()).to(at::kFloat);
  return filters.permute({2, 3, 0, 1}).reshape({points, out / lanes, lanes, in}).transpose(2, 3).contiguous();
}

at::Tensor convolve(
    const at::Tensor &given, const at::Tensor &filters, const std::optional<at::Tensor> &bias, const std::optional<at::Tensor> &residual) {
  TORCH_CHECK(filters.dim() == 4 && filters.size(0) == points && filters.size(3) == lanes, "the filters are not packed for Winograd");
  TORCH_CHECK(
      given.dim() == 4 && given.is_cpu() && given.scalar_type() == at::kFloat && given.size(1) == filters.size(2),
      "a Winograd convolution takes f32 (N, ", filters.size(2), ", H, W) on the CPU, not ", given.scalar_type(), " ", given.sizes());
  const Problem p{given.size(2), given.size(3), filters.size(2), filters.size(1) * lanes};
  TORCH_CHECK(!bias || (bias->dim() == 1 && bias->size(0) == p.out), "the bias must have shape (", p.out, ")");
  const at::Tensor x = given.contiguous(at::MemoryFormat::ChannelsLast);
  at::Tensor y = at::empty({x.size(0), p.out, p.height, p.width}, x.options(), at::MemoryFormat::ChannelsLast);
  TORCH_CHECK(!residual || residual->sizes() == y.sizes(), "the residual must have the output's shape ", y.sizes());
  const auto offsets = bias ? std::optional(bias->to(at::kFloat).contiguous()) : std::nullopt;
  const auto added = residual ? std::optional(residual->to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast)) : std::nullopt;
  if (y.numel() == 0) return y;
  const int64_t perBlock = p.tilesPerBlock(), blocks = (p.tiles() + perBlock - 1) / perBlock;
  const int64_t inputs = p.height * p.width * p.in, outputs = p.height * p.width * p.out;
  at::parallel_for(0, x.size(0) * blocks, 1, [&](int64_t begin, int64_t end) {
    float *tiles = scratch(points * perBlock * (p.in + p.out));
    for (int64_t block = begin; block < end; block++) {
      const int64_t sample = block / blocks, first = block % blocks * perBlock, count = std::min(perBlock, p.tiles() - first);
      convolveTiles(
          p, first, count, x.const_data_ptr<float>() + sample * inputs, filters.const_data_ptr<float>(),
          offsets ? offsets->const_data_ptr<float>() : nullptr, added ? added->const_data_ptr<float>() + sample * outputs : nullptr,
          y.mutable_data_ptr<float>() + sample * outputs, tiles, tiles + points * perBlock * p.in);
    }
  });
  return y;
}

}  // namespace

wt_status wt_pack_winograd_weight(wt_tensor weight, wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    *out = wrap(pack(value(weight)));
  });
}

wt_status wt_conv2d_winograd(wt_tensor x, wt_tensor packed, wt_tensor bias, wt_tensor residual, wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    *out = wrap(convolve(value(x), value(packed), optional(bias), optional(residual)));
  });
}
