import CTorchBridge

/// Gradients and in-place updates, whose names end in `_` as LibTorch's do.
// swift-format-ignore: AlwaysUseLowerCamelCase
extension Tensor {
  /// Marks a leaf as a parameter whose gradient is wanted, and returns it.
  @discardableResult
  package func requiresGrad(_ wanted: Bool) throws(TorchError) -> Tensor {
    try perform("requiresGrad") { wt_set_requires_grad($0, wanted) }
    return self
  }

  package var requiresGrad: Bool {
    withExtendedLifetime(self) {
      var answer = false
      wt_requires_grad(handle, &answer)
      return answer
    }
  }

  /// The gradient that `backward` left here, if any; shares memory with the parameter's own.
  package var grad: Tensor? {
    get throws(TorchError) {
      var out: OpaquePointer?
      try perform("grad") { wt_grad($0, &out) }
      return out.map(Tensor.init(owning:))
    }
  }

  package func clearGrad() throws(TorchError) {
    try perform("clearGrad", wt_clear_grad)
  }

  /// Adds d(self)/d(leaf) to the gradient of every leaf that wants one; self must have one element.
  package func backward() throws(TorchError) {
    try perform("backward", wt_backward)
  }

  /// A view that takes no part in gradients.
  package func detach() throws(TorchError) -> Tensor {
    try Tensor.make("detach", keeping: self) { wt_detach(handle, $0) }
  }

  /// Overwrites the elements, converting the type if needed. On a parameter, within `Torch.withoutGradients`, as all below.
  package func copy_(_ source: Tensor) throws(TorchError) {
    try perform("copy_") { target in withExtendedLifetime(source) { wt_copy_(target, source.handle) } }
  }

  /// self += factor * other.
  package func add_(_ other: Tensor, factor: Double = 1) throws(TorchError) {
    try perform("add_") { target in withExtendedLifetime(other) { wt_add_(target, other.handle, factor) } }
  }

  package func mul_(_ factor: Double) throws(TorchError) {
    try perform("mul_") { wt_mul_($0, factor) }
  }

  package func zero_() throws(TorchError) {
    try perform("zero_", wt_zero_)
  }

  /// self += weight * (end - self).
  package func lerp_(_ end: Tensor, weight: Double) throws(TorchError) {
    try Tensor.lerp_([self], [end], weight: weight)
  }

  /// `lerp_` of many pairs at once: an exponential moving average's update.
  package static func lerp_(_ tensors: [Tensor], _ ends: [Tensor], weight: Double) throws(TorchError) {
    guard tensors.count == ends.count else {
      throw TorchError(operation: "lerp_", message: "\(tensors.count) tensors but \(ends.count) ends")
    }
    let status = withHandles(tensors) { targets, count in withHandles(ends) { ends, _ in wt_lerp_(targets, ends, count, weight) } }
    try check("lerp_", status)
  }

  /// Scales the gradients of `parameters` so that their joint L2 norm is at most `max`; returns the norm they had. A norm that
  /// is not finite is returned and nothing is scaled.
  package static func clipGradNorm(_ parameters: [Tensor], max: Double) throws(TorchError) -> Double {
    var norm = 0.0
    let status = withHandles(parameters) { wt_clip_grad_norm($0, $1, max, &norm) }
    try check("clipGradNorm", status)
    return norm
  }
}
