// oneDNN's convolution with the weight already in its own order and bias, residual and activation fused in.
#include "Internal.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>

using namespace weir;

namespace {

template <class Signature>
c10::TypedOperatorHandle<Signature> find(const char *name, const char *overload) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

using Reorder = at::Tensor(
    const at::Tensor &, c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymIntArrayRef, int64_t, at::OptionalSymIntArrayRef);
using Pointwise = at::Tensor(
    const at::Tensor &, const at::Tensor &, const std::optional<at::Tensor> &, at::IntArrayRef, at::IntArrayRef, at::IntArrayRef, int64_t,
    std::string_view, at::List<std::optional<at::Scalar>>, std::optional<std::string_view>);
using PointwiseBinary = at::Tensor(
    const at::Tensor &, const at::Tensor &, const at::Tensor &, const std::optional<at::Tensor> &, at::IntArrayRef, at::IntArrayRef,
    at::IntArrayRef, int64_t, std::string_view, std::optional<at::Scalar>, std::optional<std::string_view>,
    at::List<std::optional<at::Scalar>>, std::optional<std::string_view>);

}  // namespace

wt_status wt_pack_conv2d_weight(wt_tensor weight, int64_t stride, int64_t padding, const int64_t input[4], wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    static const auto op = find<Reorder>("mkldnn::_reorder_convolution_weight", "");
    const c10::SymInt pad[] = {padding, padding}, step[] = {stride, stride}, one[] = {1, 1};
    const c10::SymInt shape[] = {input[0], input[1], input[2], input[3]};
    *out = wrap(op.call(value(weight).detach(), pad, step, one, 1, c10::SymIntArrayRef(shape)));
  });
}

bool wt_packs_bf16(void) {
  static const bool is = find<bool()>("mkldnn::_is_mkldnn_bf16_supported", "").call();
  return is;
}

wt_status wt_conv2d_packed(
    wt_tensor x, wt_tensor packed, wt_tensor bias, wt_tensor residual, int64_t stride, int64_t padding, wt_activation activation,
    wt_tensor *out) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    const int64_t pad[] = {padding, padding}, step[] = {stride, stride}, one[] = {1, 1};
    const at::List<std::optional<at::Scalar>> none;
    std::string_view name = "none";
    switch (activation) {
      case WT_NO_ACTIVATION: break;
      case WT_ACTIVATION_SILU: name = "swish"; break;
      case WT_ACTIVATION_RELU: name = "relu"; break;
    }
    if (residual == nullptr) {
      static const auto op = find<Pointwise>("mkldnn::_convolution_pointwise", "");
      *out = wrap(op.call(value(x), value(packed), optional(bias), pad, step, one, 1, name, none, std::nullopt));
    } else {
      static const auto op = find<PointwiseBinary>("mkldnn::_convolution_pointwise", "binary");
      const auto unary = activation == WT_NO_ACTIVATION ? std::nullopt : std::optional<std::string_view>(name);
      *out = wrap(op.call(
          value(x), value(residual), value(packed), optional(bias), pad, step, one, 1, "add", std::nullopt, unary, none, std::nullopt));
    }
  });
}
