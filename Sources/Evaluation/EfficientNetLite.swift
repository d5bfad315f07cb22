import Digests
import Foundation
package import Images
package import Tensors

/// EfficientNet-Lite0 (Tan and Le 2019; the Lite variant has no squeeze-excite and ReLU6): features of images that are 224 x 224 to it.
///
/// Its weights are a safetensors file with the names of PyTorch's `efficientnet_lite_pytorch`, which `ops/data/make-feature-net` makes.
package final class EfficientNetLite: FeatureNet {
  private static let side = 224
  /// Repeats, kernel, stride, expansion, output channels.
  private static let groups = [
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
  ]

  /// A convolution with the normalisation after it folded in.
  private struct Layer {
    var weight: Tensor
    var bias: Tensor
    var kernel: Int
    var stride: Int
    var groups = 1

    /// "Same" as TensorFlow has it: of an odd padding the larger part is at the end.
    func callAsFunction(_ x: Tensor) throws -> Tensor {
      let total = max(0, (((x.shape[2] + stride - 1) / stride) - 1) * stride + kernel - x.shape[2])
      let padded = total == 0 ? x : try x.padded(left: total / 2, right: total - total / 2, top: total / 2, bottom: total - total / 2)
      return try padded.conv2d(weight, bias, stride: stride, groups: groups)
    }
  }

  private struct Block {
    var expansion: Layer?
    var depthwise: Layer
    var projection: Layer
    var isResidual: Bool
  }

  package let name = "EfficientNet-Lite0"
  package let digest: [UInt8]
  private let stem: Layer
  private let blocks: [Block]
  private let head: Layer
  private let classifier: (weight: Tensor, bias: Tensor)

  package init(weights path: String) throws {
    let file = try Safetensors.open(path)
    digest = sha256([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
    func tensor(_ name: String, _ shape: [Int]) throws -> Tensor {
      guard file.contains(name), try file.shape(of: name) == shape else {
        throw EvaluationError("\(path): it has no tensor \(name) of the shape \(shape); ops/data/make-feature-net makes the file")
      }
      return try file.tensor(named: name).to(.f32)
    }
    func layer(_ convolution: String, _ norm: String, _ shape: [Int], stride: Int = 1, groups: Int = 1) throws -> Layer {
      let channels = shape[0]
      func of(_ part: String) throws -> Tensor { try tensor("\(norm).\(part)", [channels]) }
      let factor = try of("weight").mul(of("running_var").add(1e-3).rsqrt())
      return Layer(
        weight: try tensor("\(convolution).weight", shape).mul(factor.reshape([channels, 1, 1, 1])).channelsLast(),
        bias: try of("bias").sub(of("running_mean").mul(factor)), kernel: shape[2], stride: stride, groups: groups)
    }
    stem = try layer("_conv_stem", "_bn0", [32, 3, 3, 3], stride: 2)
    var blocks: [Block] = []
    var input = 32
    for (repeats, kernel, stride, expansion, output) in Self.groups {
      for index in 0..<repeats {
        let name = "_blocks.\(blocks.count)"
        let wide = input * expansion
        let step = index == 0 ? stride : 1
        blocks.append(
          Block(
            expansion: expansion == 1 ? nil : try layer("\(name)._expand_conv", "\(name)._bn0", [wide, input, 1, 1]),
            depthwise: try layer("\(name)._depthwise_conv", "\(name)._bn1", [wide, 1, kernel, kernel], stride: step, groups: wide),
            projection: try layer("\(name)._project_conv", "\(name)._bn2", [output, wide, 1, 1]), isResidual: step == 1 && input == output))
        input = output
      }
    }
    self.blocks = blocks
    head = try layer("_conv_head", "_bn1", [1280, 320, 1, 1])
    classifier = (try tensor("_fc.weight", [1_000, 1_280]), try tensor("_fc.bias", [1_000]))
  }

  /// - Parameter images: at least one, of one size.
  package func features(of images: [RGBImage]) throws -> (features: Tensor, logits: Tensor) {
    try Torch.inferenceMode {
      func relu6(_ x: Tensor) throws -> Tensor { try x.clamp(min: 0, max: 6) }
      var x = try relu6(stem(input(images)))
      for block in blocks {
        var y = x
        if let expansion = block.expansion { y = try relu6(expansion(y)) }
        y = try block.projection(relu6(block.depthwise(y)))
        x = block.isResidual ? try y.add(x) : y
      }
      let features = try relu6(head(x)).mean(dims: [2, 3])
      return (features, try features.linear(classifier.weight, classifier.bias))
    }
  }

  /// As the net was trained: resized as a photograph is, rounded to bytes, (v - 127) / 128.
  private func input(_ images: [RGBImage]) throws -> Tensor {
    let (height, width) = (images[0].height, images[0].width)
    var x = try Tensor(images.flatMap(\.pixels), shape: [images.count, height, width, 3]).permute([0, 3, 1, 2]).to(.f32).contiguous()
    if (height, width) != (Self.side, Self.side) {
      // Half a step up and cut off is Pillow's rounding; of a number that is not negative, i64 cuts it off.
      x = try x.resizedBicubic(height: Self.side, width: Self.side).clamp(min: 0, max: 255).add(0.5).to(.i64).to(.f32)
    }
    return try x.sub(127).div(128).channelsLast()
  }
}
