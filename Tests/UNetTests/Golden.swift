import Foundation
import Tensors

@testable import UNet

/// One network of ops/reference/make_goldens.py: flags, weights, inputs and the PyTorch reference's output.
struct Golden: Sendable, CustomStringConvertible {
  static let names = ["adm", "plain", "pooled", "upsampler", "upsampler-plain", "odd"]

  let description: String
  let configuration: UNetConfiguration
  let parameters: [(name: String, tensor: Tensor)]
  /// The reference's state dict's order.
  let referenceOrder: [String]
  let x: Tensor
  let timesteps: Tensor
  let labels: Tensor?
  let lowRes: Tensor?
  let augLevels: Tensor?
  let output: Tensor

  init(_ name: String) throws {
    guard let url = Bundle.module.url(forResource: name, withExtension: "safetensors", subdirectory: "Goldens") else {
      throw CocoaError(.fileNoSuchFile, userInfo: [NSFilePathErrorKey: "Goldens/\(name).safetensors"])
    }
    let file = try Safetensors.open(url.path)
    description = name
    configuration = try UNetConfiguration(json: Data((file.metadata["network"] ?? "").utf8))
    parameters = try configuration.tensorShapes().map { ($0.name, try file.tensor(named: $0.name)) }
    referenceOrder = file.names.filter { !$0.hasPrefix("in.") && $0 != "out" }
    func input(_ key: String) throws -> Tensor? { file.contains("in.\(key)") ? try file.tensor(named: "in.\(key)") : nil }
    x = try file.tensor(named: "in.x")
    timesteps = try file.tensor(named: "in.t")
    labels = try input("y")
    lowRes = try input("low_res")
    augLevels = try input("s")
    output = try file.tensor(named: "out")
  }

  /// The weights alone, as a file.
  func withWeightsFile<Result>(_ body: (Safetensors) throws -> Result) throws -> Result {
    try withTemporaryFile { path in
      try Safetensors.write(parameters.map { ($0.name, $0.tensor) }, to: path)
      return try body(Safetensors.open(path))
    }
  }
}

func withTemporaryFile<Result>(_ body: (String) throws -> Result) throws -> Result {
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).safetensors").path
  defer { try? FileManager.default.removeItem(atPath: path) }
  return try body(path)
}

/// Largest difference over largest value.
func relativeError(_ a: Tensor, _ reference: Tensor) throws -> Float {
  let (a, b) = (try a.floats(), try reference.floats())
  guard a.count == b.count else { return .infinity }
  let difference = zip(a, b).map { $0.isNaN ? .infinity : abs($0 - $1) }.max() ?? 0
  return difference / (b.map(abs).max() ?? 1)
}

/// Root of the mean square difference over that of the reference.
func rmsError(_ a: Tensor, _ reference: Tensor) throws -> Float {
  let (a, b) = (try a.floats(), try reference.floats())
  guard a.count == b.count else { return .infinity }
  let difference = zip(a, b).reduce(Float(0)) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
  return (difference / b.reduce(Float(0)) { $0 + $1 * $1 }).squareRoot()
}
