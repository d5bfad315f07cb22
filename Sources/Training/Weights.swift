import Foundation
package import Tensors

/// A network's weights as files of guided-diffusion's tensor names.
package enum Weights {
  /// Writes convolution kernels in bf16, which is what they are computed in, and the small rest in f32. Atomic.
  package static func export(_ parameters: [(name: String, tensor: Tensor)], metadata: [String: String], to path: String) throws {
    let stored = try parameters.map { (name, tensor) in
      (name, try tensor.detach().to(tensor.shape.count >= 3 ? .bf16 : .f32))
    }
    try Safetensors.write(stored, metadata: metadata, to: path)
  }

  /// Copies every parameter from a file, converting the type.
  ///
  /// - Parameter prefix: of the names in the file.
  package static func load(_ file: Safetensors, prefix: String = "", path: String, into parameters: [(name: String, tensor: Tensor)]) throws
  {
    let present = Set(file.names)
    let missing = parameters.map { prefix + $0.name }.filter { !present.contains($0) }
    guard missing.isEmpty else {
      throw TrainingError(
        .checkpoint,
        "\(path): has no tensor \(missing.prefix(3).joined(separator: ", "))\(missing.count > 3 ? " and \(missing.count - 3) more" : ""); "
          + "it is of another network than the stage's")
    }
    try Torch.withoutGradients {
      for (name, parameter) in parameters {
        let stored = try file.tensor(named: prefix + name)
        guard stored.shape == parameter.shape else {
          throw TrainingError(
            .checkpoint,
            "\(path): \(prefix + name) has shape \(stored.shape), the stage's network has \(parameter.shape); it is of another network")
        }
        try parameter.copy_(stored)
      }
    }
  }
}
