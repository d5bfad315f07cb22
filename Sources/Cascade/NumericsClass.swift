import Foundation
import Tensors

/// Within a numerics class the same sample has the same bytes: `cpu/avx512_bf16/torch-2.13.0/bf16`.
enum NumericsClass {
  static func name(device: Device, dtype: DType) -> String {
    let kind = device.name.prefix { $0 != ":" }
    let instructions = device.isCPU ? cpu : String(kind)
    return "\(kind)/\(instructions)/torch-\(Torch.version)/\(dtype.rawValue)"
  }

  /// LibTorch's own choice of instruction set, unless the processor also has matrix or bf16 instructions, which oneDNN then uses.
  private static let cpu: String = {
    let flags = Set(
      (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?
        .split(separator: "\n").first { $0.hasPrefix("flags") }?.split(separator: " ").map(String.init) ?? [])
    return ["amx_bf16", "avx512_bf16"].first(where: flags.contains) ?? Torch.cpuCapability.lowercased()
  }()
}
