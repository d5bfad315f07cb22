import Foundation

/// GroupNorm, scale-shift and SiLU as their definitions say, in float64.
struct GroupNormReference {
  var groups: Int
  var weight: [Float]?
  var bias: [Float]?
  var eps = 1e-5
  /// (N, C).
  var scale: [Float]?
  var shift: [Float]?
  var silu = false

  /// `x`: (N, C, pixels), row-major.
  func apply(_ x: [Float], shape: [Int]) -> [Float] {
    let (samples, channels, pixels) = (shape[0], shape[1], shape[2])
    let size = channels / groups * pixels
    var y = x
    for n in 0..<samples {
      for g in 0..<groups {
        let range = (n * groups + g) * size..<(n * groups + g + 1) * size
        let mean = x[range].reduce(0) { $0 + Double($1) } / Double(size)
        let variance = x[range].reduce(0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / Double(size)
        for i in range {
          let channel = i / pixels % channels
          var value = (Double(x[i]) - mean) / (variance + eps).squareRoot()
          value = value * Double(weight?[channel] ?? 1) + Double(bias?[channel] ?? 0)
          value = value * (1 + Double(scale?[n * channels + channel] ?? 0)) + Double(shift?[n * channels + channel] ?? 0)
          y[i] = Float(silu ? value / (1 + exp(-value)) : value)
        }
      }
    }
    return y
  }
}
