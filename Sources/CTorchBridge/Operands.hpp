// What the bridge's own convolutions have in common: f32 or bf16 on the CPU, channels-last, the output as large as the input.
#pragma once

#include "Internal.hpp"
#include "Processor.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <optional>
#include <vector>

namespace weir {

// Checked, of x's type and in the order in memory that the kernels want.
struct Operands {
  at::Tensor x, y;
  std::optional<at::Tensor> bias, residual;

  Operands(
      const at::Tensor &given, int64_t in, int64_t out, const std::optional<at::Tensor> &bias, const std::optional<at::Tensor> &residual) {
    const at::ScalarType type = given.scalar_type();
    TORCH_CHECK(
        given.dim() == 4 && given.is_cpu() && isF32OrBF16(given) && given.size(1) == in,
        "this convolution takes f32 or bf16 (N, ", in, ", H, W) on the CPU, not ", type, " ", given.sizes());
    TORCH_CHECK(!bias || (bias->dim() == 1 && bias->size(0) == out), "the bias must have shape (", out, ")");
    x = given.contiguous(at::MemoryFormat::ChannelsLast);
    y = at::empty({x.size(0), out, x.size(2), x.size(3)}, x.options(), at::MemoryFormat::ChannelsLast);
    TORCH_CHECK(!residual || residual->sizes() == y.sizes(), "the residual must have the output's shape ", y.sizes());
    if (bias) this->bias = bias->to(type).contiguous();
    if (residual) this->residual = residual->to(type).contiguous(at::MemoryFormat::ChannelsLast);
  }
};

// In which type a convolution's products are formed.
enum class ProductType { f32, f32OfBF16, native };

inline ProductType productType(const at::Tensor &x, const at::Tensor &filters) {
  if (filters.scalar_type() == at::kFloat) return x.scalar_type() == at::kFloat ? ProductType::f32 : ProductType::f32OfBF16;
  TORCH_CHECK(
      x.scalar_type() == at::kBFloat16 && multipliesBF16(), "filters packed for products of bf16 take a bf16 input, not ", x.scalar_type());
  return ProductType::native;
}

// Filters (..., terms, columns) as products of bf16 take them: of each two terms, column by column.
inline at::Tensor withPairedTerms(const at::Tensor &filters) {
  std::vector<int64_t> shape = filters.sizes().vec();
  const int64_t terms = shape[shape.size() - 2], columns = shape.back();
  return filters.reshape({-1, terms / 2, 2, columns}).transpose(2, 3).to(at::kBFloat16).contiguous().reshape(shape);
}

// NULL where there is no tensor.
template <class Element>
const Element *elements(const std::optional<at::Tensor> &tensor) {
  return tensor ? static_cast<const Element *>(tensor->const_data_ptr()) : nullptr;
}

}  // namespace weir
