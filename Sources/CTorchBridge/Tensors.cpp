// Tensors: construction, reading, and the operations that LibTorch has.
#include "Internal.hpp"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cstring>

using namespace weir;

namespace {

at::IntArrayRef list(const int64_t *items, size_t count) {
  TORCH_CHECK(items != nullptr || count == 0, "a list of numbers is NULL");
  return {items, count};
}

// The shape's element count; refuses negative sizes and products that do not fit.
int64_t checkedCount(at::IntArrayRef shape) {
  int64_t count = 1;
  for (const int64_t size : shape) {
    TORCH_CHECK(size >= 0, "a tensor's sizes must not be negative, this shape is ", shape);
    TORCH_CHECK(!__builtin_mul_overflow(count, size, &count) && count <= (int64_t{1} << 48), "the shape ", shape, " is too large");
  }
  return count;
}

at::TensorOptions options(wt_dtype dtype, const char *name) { return at::TensorOptions().dtype(scalarType(dtype)).device(device(name)); }

template <class Body>
wt_status produce(wt_tensor *out, Body &&body) noexcept {
  return guarded([&] { *out = wrap(body()); });
}

}  // namespace

void wt_free(wt_tensor tensor) {
  if (tensor == nullptr) return;
  guarded([&] {
    liveHandles.fetch_sub(1, std::memory_order_relaxed);
    delete tensor;
  });
}

wt_status wt_from_bytes(
    const void *data, size_t bytes, wt_dtype dtype, const int64_t *shape, size_t rank, const char *deviceName, wt_tensor *out) {
  return produce(out, [&] {
    const auto sizes = list(shape, rank);
    const auto type = scalarType(dtype);
    const auto expected = static_cast<size_t>(checkedCount(sizes)) * c10::elementSize(type);
    TORCH_CHECK(bytes == expected, "a tensor of shape ", sizes, " takes ", expected, " bytes, ", bytes, " were given");
    auto tensor = at::empty(sizes, at::TensorOptions().dtype(type));
    if (bytes > 0) std::memcpy(tensor.data_ptr(), data, bytes);
    return tensor.to(device(deviceName));
  });
}

wt_status wt_full(double number, wt_dtype dtype, const int64_t *shape, size_t rank, const char *deviceName, wt_tensor *out) {
  return produce(out, [&] {
    const auto sizes = list(shape, rank);
    checkedCount(sizes);
    return at::full(sizes, number, options(dtype, deviceName));
  });
}

wt_status wt_zeros_like(wt_tensor tensor, wt_tensor *out) {
  return produce(out, [&] { return at::zeros_like(value(tensor).detach()); });
}

wt_status wt_randn(uint64_t seed, const int64_t *shape, size_t rank, wt_tensor *out) {
  return produce(out, [&] {
    const auto sizes = list(shape, rank);
    checkedCount(sizes);
    return at::randn(sizes, at::detail::createCPUGenerator(seed), at::TensorOptions().dtype(at::kFloat));
  });
}

wt_status wt_rank(wt_tensor tensor, size_t *out) {
  return guarded([&] { *out = static_cast<size_t>(value(tensor).dim()); });
}

static void copySizes(at::IntArrayRef sizes, int64_t *out, size_t rank) {
  TORCH_CHECK(sizes.size() == rank, "the tensor has ", sizes.size(), " dimensions, room was given for ", rank);
  std::copy(sizes.begin(), sizes.end(), out);
}

wt_status wt_shape(wt_tensor tensor, int64_t *out, size_t rank) {
  return guarded([&] { copySizes(value(tensor).sizes(), out, rank); });
}

wt_status wt_strides(wt_tensor tensor, int64_t *out, size_t rank) {
  return guarded([&] { copySizes(value(tensor).strides(), out, rank); });
}

wt_status wt_count(wt_tensor tensor, int64_t *out) {
  return guarded([&] { *out = value(tensor).numel(); });
}

wt_status wt_dtype_of(wt_tensor tensor, wt_dtype *out) {
  return guarded([&] { *out = dtypeOf(value(tensor).scalar_type()); });
}

wt_status wt_device_of(wt_tensor tensor, char *out, size_t capacity) {
  return guarded([&] {
    const auto name = value(tensor).device().str();
    TORCH_CHECK(name.size() < capacity, "the device's name ", name, " does not fit into ", capacity, " bytes");
    std::memcpy(out, name.c_str(), name.size() + 1);
  });
}

wt_status wt_read(wt_tensor tensor, wt_dtype dtype, void *out, size_t bytes) {
  return guarded([&] {
    const auto plain = value(tensor).detach().to(at::kCPU, scalarType(dtype)).contiguous();
    TORCH_CHECK(plain.nbytes() == bytes, "the tensor has ", plain.nbytes(), " bytes, room was given for ", bytes);
    if (bytes > 0) std::memcpy(out, plain.const_data_ptr(), bytes);
  });
}

wt_status wt_item(wt_tensor tensor, double *out) {
  return guarded([&] { *out = value(tensor).item().toDouble(); });
}

wt_status wt_all_finite(wt_tensor tensor, bool *out) {
  return guarded([&] { *out = at::isfinite(value(tensor)).all().item().toBool(); });
}

wt_status wt_unary(wt_unary_op op, wt_tensor handle, wt_tensor *out) {
  return produce(out, [&]() -> at::Tensor {
    const auto &x = value(handle);
    switch (op) {
      case WT_NEG: return at::neg(x);
      case WT_EXP: return at::exp(x);
      case WT_LOG: return at::log(x);
      case WT_SQRT: return at::sqrt(x);
      case WT_RSQRT: return at::rsqrt(x);
      case WT_TANH: return at::tanh(x);
      case WT_SIGMOID: return at::sigmoid(x);
      case WT_SILU: return at::silu(x);
      case WT_RELU: return at::relu(x);
      case WT_GELU: return at::gelu(x);
      case WT_ABS: return at::abs(x);
      case WT_SQUARE: return at::square(x);
      case WT_SIN: return at::sin(x);
      case WT_COS: return at::cos(x);
    }
    TORCH_CHECK(false, "unknown unary operation ", static_cast<int>(op));
  });
}

wt_status wt_binary(wt_binary_op op, wt_tensor left, wt_tensor right, wt_tensor *out) {
  return produce(out, [&]() -> at::Tensor {
    const auto &a = value(left);
    const auto &b = value(right);
    switch (op) {
      case WT_ADD: return at::add(a, b);
      case WT_SUB: return at::sub(a, b);
      case WT_MUL: return at::mul(a, b);
      case WT_DIV: return at::div(a, b);
      case WT_MATMUL: return at::matmul(a, b);
      case WT_BMM: return at::bmm(a, b);
      case WT_MAXIMUM: return at::maximum(a, b);
      case WT_MINIMUM: return at::minimum(a, b);
    }
    TORCH_CHECK(false, "unknown binary operation ", static_cast<int>(op));
  });
}

wt_status wt_binary_scalar(wt_binary_op op, wt_tensor left, double b, wt_tensor *out) {
  return produce(out, [&]() -> at::Tensor {
    const auto &a = value(left);
    switch (op) {
      case WT_ADD: return at::add(a, b);
      case WT_SUB: return at::sub(a, b);
      case WT_MUL: return at::mul(a, b);
      case WT_DIV: return at::div(a, b);
      case WT_MAXIMUM: return at::clamp_min(a, b);
      case WT_MINIMUM: return at::clamp_max(a, b);
      case WT_MATMUL:
      case WT_BMM: break;
    }
    TORCH_CHECK(false, "operation ", static_cast<int>(op), " takes no number");
  });
}

wt_status wt_clamp(wt_tensor x, double low, double high, wt_tensor *out) {
  return produce(out, [&] { return at::clamp(value(x), low, high); });
}

wt_status wt_pow(wt_tensor x, double exponent, wt_tensor *out) {
  return produce(out, [&] { return at::pow(value(x), exponent); });
}

wt_status wt_dropout(wt_tensor x, double probability, bool training, wt_tensor *out) {
  return produce(out, [&] { return at::dropout(value(x), probability, training); });
}

wt_status wt_reduce(wt_reduction op, wt_tensor handle, const int64_t *dims, size_t count, bool keep, wt_tensor *out) {
  return produce(out, [&]() -> at::Tensor {
    const auto &x = value(handle);
    if (count == 0) return op == WT_SUM ? at::sum(x) : at::mean(x);
    return op == WT_SUM ? at::sum(x, list(dims, count), keep) : at::mean(x, list(dims, count), keep);
  });
}

wt_status wt_softmax(wt_tensor x, int64_t dim, wt_tensor *out) {
  return produce(out, [&] { return at::softmax(value(x), dim); });
}

wt_status wt_argmax(wt_tensor x, int64_t dim, wt_tensor *out) {
  return produce(out, [&] { return at::argmax(value(x), dim); });
}

wt_status wt_reshape(wt_tensor x, const int64_t *shape, size_t rank, wt_tensor *out) {
  return produce(out, [&] { return at::reshape(value(x), list(shape, rank)); });
}

wt_status wt_expand(wt_tensor x, const int64_t *shape, size_t rank, wt_tensor *out) {
  return produce(out, [&] { return value(x).expand(list(shape, rank)); });
}

wt_status wt_permute(wt_tensor x, const int64_t *dims, size_t rank, wt_tensor *out) {
  return produce(out, [&] { return at::permute(value(x), list(dims, rank)); });
}

wt_status wt_transpose(wt_tensor x, int64_t a, int64_t b, wt_tensor *out) {
  return produce(out, [&] { return at::transpose(value(x), a, b); });
}

wt_status wt_unsqueeze(wt_tensor x, int64_t dim, wt_tensor *out) {
  return produce(out, [&] { return at::unsqueeze(value(x), dim); });
}

wt_status wt_squeeze(wt_tensor x, int64_t dim, wt_tensor *out) {
  return produce(out, [&] { return at::squeeze(value(x), dim); });
}

wt_status wt_narrow(wt_tensor x, int64_t dim, int64_t start, int64_t length, wt_tensor *out) {
  return produce(out, [&] { return at::narrow(value(x), dim, start, length); });
}

wt_status wt_flip(wt_tensor x, int64_t dim, wt_tensor *out) {
  return produce(out, [&] { return at::flip(value(x), {dim}); });
}

wt_status wt_cat(const wt_tensor *tensors, size_t count, int64_t dim, wt_tensor *out) {
  return produce(out, [&] { return at::cat(values(tensors, count), dim); });
}

wt_status wt_stack(const wt_tensor *tensors, size_t count, int64_t dim, wt_tensor *out) {
  return produce(out, [&] { return at::stack(values(tensors, count), dim); });
}

wt_status wt_index_select(wt_tensor x, int64_t dim, wt_tensor indices, wt_tensor *out) {
  return produce(out, [&] { return at::index_select(value(x), dim, value(indices)); });
}

static at::MemoryFormat memoryFormat(wt_layout layout) {
  return layout == WT_CHANNELS_LAST ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

wt_status wt_contiguous(wt_tensor x, wt_layout layout, wt_tensor *out) {
  return produce(out, [&] { return value(x).contiguous(memoryFormat(layout)); });
}

wt_status wt_is_contiguous(wt_tensor x, wt_layout layout, bool *out) {
  return guarded([&] { *out = value(x).is_contiguous(memoryFormat(layout)); });
}

wt_status wt_to_dtype(wt_tensor x, wt_dtype dtype, wt_tensor *out) {
  return produce(out, [&] { return value(x).to(scalarType(dtype)); });
}

wt_status wt_to_device(wt_tensor x, const char *name, wt_tensor *out) {
  return produce(out, [&] { return value(x).to(device(name)); });
}

wt_status wt_clone(wt_tensor x, wt_tensor *out) {
  return produce(out, [&] { return at::clone(value(x)); });
}

wt_status wt_linear(wt_tensor x, wt_tensor weight, wt_tensor bias, wt_tensor *out) {
  return produce(out, [&] { return at::linear(value(x), value(weight), optional(bias)); });
}

wt_status wt_conv2d(
    wt_tensor x, wt_tensor weight, wt_tensor bias, int64_t stride, int64_t padding, int64_t groups, wt_tensor *out) {
  return produce(
      out, [&] { return at::conv2d(value(x), value(weight), optional(bias), {stride, stride}, {padding, padding}, {1, 1}, groups); });
}

wt_status wt_pad2d(wt_tensor x, int64_t left, int64_t right, int64_t top, int64_t bottom, wt_tensor *out) {
  return produce(out, [&] { return at::constant_pad_nd(value(x), {left, right, top, bottom}, 0); });
}

wt_status wt_resize_bicubic(wt_tensor x, int64_t height, int64_t width, wt_tensor *out) {
  return produce(out, [&] { return at::_upsample_bicubic2d_aa(value(x), {height, width}, /*align_corners=*/false); });
}

wt_status wt_singular_values(wt_tensor x, wt_tensor *out) {
  return produce(out, [&] { return at::linalg_svdvals(value(x)); });
}

wt_status wt_triangular(wt_tensor x, wt_tensor *out) {
  return produce(out, [&] { return std::get<1>(at::linalg_qr(value(x), "r")); });
}

wt_status wt_group_norm(wt_tensor x, int64_t groups, wt_tensor weight, wt_tensor bias, double eps, wt_tensor *out) {
  return produce(out, [&] { return at::group_norm(value(x), groups, optional(weight), optional(bias), eps); });
}

wt_status wt_embedding(wt_tensor weight, wt_tensor indices, wt_tensor *out) {
  return produce(out, [&] { return at::embedding(value(weight), value(indices)); });
}

wt_status wt_upsample_nearest2x(wt_tensor handle, wt_tensor *out) {
  return produce(out, [&] {
    const auto &x = value(handle);
    TORCH_CHECK(x.dim() == 4, "upsampling takes a tensor of shape (N, C, H, W), not ", x.sizes());
    return at::upsample_nearest2d(x, {x.size(2) * 2, x.size(3) * 2});
  });
}

wt_status wt_avg_pool2x2(wt_tensor x, wt_tensor *out) {
  return produce(out, [&] { return at::avg_pool2d(value(x), {2, 2}); });
}

wt_status wt_upsample_bilinear(wt_tensor x, int64_t height, int64_t width, wt_tensor *out) {
  return produce(out, [&] { return at::upsample_bilinear2d(value(x), {height, width}, /*align_corners=*/false); });
}
