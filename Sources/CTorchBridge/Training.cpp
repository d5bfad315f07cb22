// Gradients, in-place updates and the optimiser's arithmetic.
#include "Internal.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>

#include <cmath>

using namespace weir;

wt_status wt_set_requires_grad(wt_tensor x, bool wanted) {
  return guarded([&] { value(x).set_requires_grad(wanted); });
}

wt_status wt_requires_grad(wt_tensor x, bool *out) {
  return guarded([&] { *out = value(x).requires_grad(); });
}

wt_status wt_grad(wt_tensor x, wt_tensor *out) {
  return guarded([&] {
    const auto &gradient = value(x).grad();
    *out = gradient.defined() ? wrap(gradient) : nullptr;
  });
}

wt_status wt_clear_grad(wt_tensor x) {
  return guarded([&] { value(x).mutable_grad().reset(); });
}

wt_status wt_backward(wt_tensor x) {
  return guarded([&] { value(x).backward(); });
}

wt_status wt_detach(wt_tensor x, wt_tensor *out) {
  return guarded([&] { *out = wrap(value(x).detach()); });
}

wt_status wt_copy_(wt_tensor x, wt_tensor source) {
  return guarded([&] { value(x).copy_(value(source)); });
}

wt_status wt_add_(wt_tensor x, wt_tensor other, double factor) {
  return guarded([&] { value(x).add_(value(other), factor); });
}

wt_status wt_mul_(wt_tensor x, double factor) {
  return guarded([&] { value(x).mul_(factor); });
}

wt_status wt_zero_(wt_tensor x) {
  return guarded([&] { value(x).zero_(); });
}

wt_status wt_lerp_(const wt_tensor *xs, const wt_tensor *ends, size_t count, double weight) {
  return guarded([&] {
    if (count == 0) return;
    at::_foreach_lerp_(values(xs, count), values(ends, count), weight);
  });
}

wt_status wt_clip_grad_norm(const wt_tensor *parameters, size_t count, double maxNorm, double *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    std::vector<at::Tensor> gradients;
    for (size_t i = 0; i < count; i++) {
      const auto &gradient = value(parameters[i]).grad();
      if (gradient.defined()) gradients.push_back(gradient);
    }
    if (gradients.empty()) {
      *out = 0;
      return;
    }
    const double norm = at::stack(at::_foreach_norm(gradients, 2)).to(at::kDouble).norm().item().toDouble();
    // The 1e-6 is torch.nn.utils.clip_grad_norm_'s. A norm that is not finite is reported and nothing is scaled.
    if (std::isfinite(norm) && norm > maxNorm) at::_foreach_mul_(gradients, maxNorm / (norm + 1e-6));
    *out = norm;
  });
}

wt_status wt_adamw_step(
    const wt_tensor *parameters, const wt_tensor *firstMoments, const wt_tensor *secondMoments, size_t count, int64_t step, double rate,
    double beta1, double beta2, double eps, double weightDecay) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    std::vector<at::Tensor> updated, gradients, first, second, steps;
    for (size_t i = 0; i < count; i++) {
      const auto &parameter = value(parameters[i]);
      auto gradient = parameter.grad();
      if (!gradient.defined()) continue;
      // The fused kernel walks raw memory, so all four must share one layout.
      if (gradient.strides() != parameter.strides()) gradient = at::empty_like(parameter).copy_(gradient);
      TORCH_CHECK(
          value(firstMoments[i]).strides() == parameter.strides() && value(secondMoments[i]).strides() == parameter.strides(),
          "the optimiser's moments of parameter ", i, " do not have the parameter's layout");
      updated.push_back(parameter);
      gradients.push_back(gradient);
      first.push_back(value(firstMoments[i]));
      second.push_back(value(secondMoments[i]));
      steps.push_back(at::full({}, static_cast<double>(step), parameter.options().dtype(at::kFloat).requires_grad(false)));
    }
    if (updated.empty()) return;
    at::_fused_adamw_(
        updated, gradients, first, second, {}, steps, rate, beta1, beta2, weightDecay, eps, /*amsgrad=*/false, /*maximize=*/false);
  });
}
