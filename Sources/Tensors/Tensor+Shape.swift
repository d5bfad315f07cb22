import CTorchBridge

/// Views, joins and conversions. All are differentiable; negative dimensions count from the end.
extension Tensor {
  /// One size may be -1: it takes what is left.
  package func reshape(_ shape: [Int]) throws(TorchError) -> Tensor {
    let sizes = shape.map(Int64.init)
    return try Tensor.make("reshape", keeping: self) { wt_reshape(handle, sizes, sizes.count, $0) }
  }

  /// Repeats dimensions of size 1 without copying; -1 leaves a size as it is.
  package func expand(_ shape: [Int]) throws(TorchError) -> Tensor {
    let sizes = shape.map(Int64.init)
    return try Tensor.make("expand", keeping: self) { wt_expand(handle, sizes, sizes.count, $0) }
  }

  package func permute(_ dims: [Int]) throws(TorchError) -> Tensor {
    let order = dims.map(Int64.init)
    return try Tensor.make("permute", keeping: self) { wt_permute(handle, order, order.count, $0) }
  }

  package func transpose(_ a: Int, _ b: Int) throws(TorchError) -> Tensor {
    try Tensor.make("transpose", keeping: self) { wt_transpose(handle, Int64(a), Int64(b), $0) }
  }

  package func unsqueeze(dim: Int) throws(TorchError) -> Tensor {
    try Tensor.make("unsqueeze", keeping: self) { wt_unsqueeze(handle, Int64(dim), $0) }
  }

  package func squeeze(dim: Int) throws(TorchError) -> Tensor {
    try Tensor.make("squeeze", keeping: self) { wt_squeeze(handle, Int64(dim), $0) }
  }

  package func narrow(dim: Int, start: Int, length: Int) throws(TorchError) -> Tensor {
    try Tensor.make("narrow", keeping: self) { wt_narrow(handle, Int64(dim), Int64(start), Int64(length), $0) }
  }

  /// Reverses the order along `dim`.
  package func flip(dim: Int) throws(TorchError) -> Tensor {
    try Tensor.make("flip", keeping: self) { wt_flip(handle, Int64(dim), $0) }
  }

  /// `count` equal views along `dim`, whose size must be a multiple of it.
  package func chunk(_ count: Int, dim: Int) throws(TorchError) -> [Tensor] {
    let shape = shape
    let axis = dim < 0 ? dim + shape.count : dim
    guard shape.indices.contains(axis), count > 0, shape[axis] % count == 0 else {
      throw TorchError(operation: "chunk", message: "shape \(shape) has no \(count) equal parts along dimension \(dim)")
    }
    let length = shape[axis] / count
    var parts: [Tensor] = []
    for index in 0..<count { parts.append(try narrow(dim: axis, start: index * length, length: length)) }
    return parts
  }

  package static func cat(_ tensors: [Tensor], dim: Int) throws(TorchError) -> Tensor {
    try make("cat") { out in withHandles(tensors) { wt_cat($0, $1, Int64(dim), out) } }
  }

  /// Joins along a new dimension.
  package static func stack(_ tensors: [Tensor], dim: Int) throws(TorchError) -> Tensor {
    try make("stack") { out in withHandles(tensors) { wt_stack($0, $1, Int64(dim), out) } }
  }

  /// The slices along `dim` at `indices` (i64, one dimension).
  package func indexSelect(dim: Int, _ indices: Tensor) throws(TorchError) -> Tensor {
    try Tensor.make("indexSelect", keeping: self, indices) { wt_index_select(handle, Int64(dim), indices.handle, $0) }
  }

  /// Row-major memory; `self`'s memory if it already is.
  package func contiguous() throws(TorchError) -> Tensor {
    try Tensor.make("contiguous", keeping: self) { wt_contiguous(handle, WT_CONTIGUOUS, $0) }
  }

  /// (N, C, H, W) with the channels of a pixel next to each other in memory.
  package func channelsLast() throws(TorchError) -> Tensor {
    try Tensor.make("channelsLast", keeping: self) { wt_contiguous(handle, WT_CHANNELS_LAST, $0) }
  }

  package var isContiguous: Bool { hasLayout(WT_CONTIGUOUS) }
  package var isChannelsLast: Bool { hasLayout(WT_CHANNELS_LAST) }

  private func hasLayout(_ layout: wt_layout) -> Bool {
    withExtendedLifetime(self) {
      var answer = false
      wt_is_contiguous(handle, layout, &answer)
      return answer
    }
  }

  package func to(_ dtype: DType) throws(TorchError) -> Tensor {
    try Tensor.make("to", keeping: self) { wt_to_dtype(handle, dtype.raw, $0) }
  }

  package func to(_ device: Device) throws(TorchError) -> Tensor {
    try Tensor.make("to", keeping: self) { wt_to_device(handle, device.name, $0) }
  }

  /// A copy with memory of its own.
  package func clone() throws(TorchError) -> Tensor {
    try Tensor.make("clone", keeping: self) { wt_clone(handle, $0) }
  }
}
