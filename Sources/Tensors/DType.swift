import CTorchBridge

/// A tensor's element type.
package enum DType: String, Hashable, Sendable, CaseIterable {
  case f32, bf16, f16, i64, u8, f64, bool

  /// Bytes of one element.
  package var size: Int {
    switch self {
    case .u8, .bool: 1
    case .bf16, .f16: 2
    case .f32: 4
    case .i64, .f64: 8
    }
  }

  var raw: wt_dtype {
    switch self {
    case .f32: WT_F32
    case .bf16: WT_BF16
    case .f16: WT_F16
    case .i64: WT_I64
    case .u8: WT_U8
    case .f64: WT_F64
    case .bool: WT_BOOL
    }
  }

  init?(raw: wt_dtype) {
    guard let match = DType.allCases.first(where: { $0.raw == raw }) else { return nil }
    self = match
  }
}
