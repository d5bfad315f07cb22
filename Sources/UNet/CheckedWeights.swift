import Tensors

/// A weights file whose names and shapes are exactly a configuration's.
struct CheckedWeights {
  private let file: Safetensors

  /// Throws a `UNetError` that names every tensor that is missing, left over or of another shape.
  init(_ file: Safetensors, for configuration: UNetConfiguration) throws {
    try configuration.check(file.names) { try file.shape(of: $0) }
    self.file = file
  }

  /// The parameter's tensor, in the file's type.
  func tensor(_ parameter: Parameter) throws -> Tensor {
    let tensor = try file.tensor(named: parameter.name)
    let dtype = try tensor.dtype
    guard [.f32, .bf16, .f16, .f64].contains(dtype) else {
      throw UNetError(.weights, "\(parameter.name) holds \(dtype): give f32, bf16, f16 or f64")
    }
    return tensor
  }
}

extension UNetConfiguration {
  /// Throws a `UNetError` that names every tensor that is missing, left over or of another shape than the network's.
  ///
  /// - Parameter shape: of one of `names`.
  package func check(_ names: [String], shape: (String) throws -> [Int]) throws {
    let expected = NetworkLayout.network(self).parameters
    let present = Set(names)
    var problems: [String] = []
    func list(_ what: String, _ names: [String]) {
      guard !names.isEmpty else { return }
      problems.append("\(what): \(names.joined(separator: ", "))")
    }
    list("missing", expected.map(\.name).filter { !present.contains($0) })
    list("not of this network", present.subtracting(expected.map(\.name)).sorted())
    list(
      "wrong shape",
      try expected.filter { present.contains($0.name) }.compactMap { parameter in
        let shape = try shape(parameter.name)
        return shape == parameter.shape ? nil : "\(parameter.name) is \(shape), should be \(parameter.shape)"
      })
    guard problems.isEmpty else {
      throw UNetError(.weights, "the weights don't fit the network's flags; \(problems.joined(separator: "; "))")
    }
  }
}
