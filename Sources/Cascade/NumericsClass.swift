package import Tensors

/// Within a numerics class the same sample has the same bytes: `cpu/avx512_bf16/torch-2.13.0/bf16/5`.
package enum NumericsClass {
  /// Of Weir's own kernels: one more for each change of the bytes they give.
  static let revision = 5

  static func name(device: Device, dtype: DType) -> String {
    let kind = device.name.prefix { $0 != ":" }
    let instructions = device.isCPU ? processorInstructions : String(kind)
    return "\(kind)/\(instructions)/torch-\(Torch.version)/\(dtype.rawValue)/\(revision)"
  }

  /// What a network that may be computed in `preferred` is computed in on a device: bf16 only where the device multiplies it: elsewhere
  /// its products are formed in f32 all the same.
  package static func dtype(_ preferred: DType, on device: Device) -> DType {
    preferred == .bf16 && device.isCPU && !Torch.multipliesBF16 ? .f32 : preferred
  }

  /// LibTorch's own choice of instruction set, but where oneDNN goes beyond it.
  private static let processorInstructions =
    ["amx_bf16", "avx512_bf16"].first(where: Processor.flags.contains) ?? Torch.cpuCapability.lowercased()
}
