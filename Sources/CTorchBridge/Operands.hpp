// What the bridge's own convolutions have in common: f32 on the CPU, channels-last, the output as large as the input.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <optional>

namespace weir {

// Checked and in the order in memory that the kernels want.
struct Operands {
  at::Tensor x, y;
  std::optional<at::Tensor> bias, residual;

  Operands(
      const at::Tensor &given, int64_t in, int64_t out, const std::optional<at::Tensor> &bias, const std::optional<at::Tensor> &residual) {
    TORCH_CHECK(
        given.dim() == 4 && given.is_cpu() && given.scalar_type() == at::kFloat && given.size(1) == in, "this convolution takes f32 (N, ", in,
        ", H, W) on the CPU, not ", given.scalar_type(), " ", given.sizes());
    TORCH_CHECK(!bias || (bias->dim() == 1 && bias->size(0) == out), "the bias must have shape (", out, ")");
    x = given.contiguous(at::MemoryFormat::ChannelsLast);
    y = at::empty({x.size(0), out, x.size(2), x.size(3)}, x.options(), at::MemoryFormat::ChannelsLast);
    TORCH_CHECK(!residual || residual->sizes() == y.sizes(), "the residual must have the output's shape ", y.sizes());
    if (bias) this->bias = bias->to(at::kFloat).contiguous();
    if (residual) this->residual = residual->to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast);
  }

  // NULL where there is none.
  const float *biasData() const { return bias ? bias->const_data_ptr<float>() : nullptr; }
  const float *residualData(int64_t offset) const { return residual ? residual->const_data_ptr<float>() + offset : nullptr; }
};

}  // namespace weir
