import Foundation
import Synchronization
import Tensors
import Testing

@testable import UNet

/// What the served networks of `ops/pipelines/avatars` are made of, one operation at a time, at the sizes that they meet there: the same bytes
/// whatever the process's thread count is, beside another thread that computes the same, and where a whole batch goes through at once, in every
/// batch and slot.
///
/// In a process of its own, for the thread count is the process's.
@Suite struct ServedOperationTests {
  @Test(arguments: [0, 1, 2]) func bytesDependOnTheSampleAlone(_ stage: Int) async {
    await #expect(processExitsWith: .success) { [stage] in
      let configuration = try Self.configuration(stage)
      try Self.compare(configuration, .f32, largest: 256)
      // Many processors emulate bf16, and large images then take long.
      try Self.compare(configuration, .bf16, largest: 32)
      try Self.compareBatches(configuration)
    }
  }

  /// A shipped stage's network.
  static func configuration(_ stage: Int) throws -> UNetConfiguration {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let data = try Data(contentsOf: root.appending(path: "ops/pipelines/avatars/cascade.json"))
    let manifest = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    let stages = try #require(manifest["stages"] as? [[String: Any]])
    return try UNetConfiguration(json: JSONSerialization.data(withJSONObject: try #require(stages[stage]["network"])))
  }

  /// An operation that serving gives one sample.
  struct Operation {
    let name: String
    let run: () throws -> Tensor
  }

  /// - Parameter largest: side of the largest images that are tried.
  static func compare(_ configuration: UNetConfiguration, _ dtype: DType, largest: Int) throws {
    try Torch.setThreads(1)
    let operations = try operations(configuration, dtype, largest: largest)
    let expected = try operations.map { try bytes($0.run) }
    try Torch.setThreads(2)
    for (operation, bytes) in zip(operations, expected) where try Self.bytes(operation.run) != bytes {
      Issue.record("\(dtype), \(operation.name): other bytes where the process has two threads")
    }
    for (operation, bytes) in zip(operations, expected) {
      for threads in [2, 3] where try Self.bytes(kernelThreads: threads, operation.run) != bytes {
        Issue.record("\(dtype), \(operation.name): other bytes where our kernels have \(threads) threads")
      }
    }
    // All of them on two threads at once, one from the first to the last, one from the last to the first.
    nonisolated(unsafe) let shared = operations
    let differing = Mutex<[String]>([])
    DispatchQueue.concurrentPerform(iterations: 2) { lane in
      for index in lane == 0 ? Array(shared.indices) : shared.indices.reversed() {
        let bytes = try? bytes(shared[index].run)
        if bytes != expected[index] { differing.withLock { $0.append(shared[index].name) } }
      }
    }
    let names = differing.withLock { $0 }
    #expect(names.isEmpty, "\(dtype), two at a time: other bytes")
  }

  /// As `Data`: unoptimised code compares arrays byte by byte.
  private static func bytes(kernelThreads: Int = 1, _ run: () throws -> Tensor) throws -> Data {
    Data(try serving(kernelThreads: kernelThreads) { try run().bytes() })
  }

  private static func serving<Result>(kernelThreads: Int = 1, _ body: () throws -> Result) throws -> Result {
    try Torch.inferenceMode { try Torch.onOneThread(kernelThreads: kernelThreads, body) }
  }

  /// One of each kind, type and shape.
  private static func operations(_ configuration: UNetConfiguration, _ dtype: DType, largest: Int) throws -> [Operation] {
    var operations: [Operation] = []
    var seen: Set<String> = []
    func add(_ name: String, _ make: () throws -> () throws -> Tensor) throws {
      guard seen.insert(name).inserted else { return }
      operations.append(Operation(name: name, run: try make()))
    }
    func noise(_ shape: [Int]) throws -> Tensor { try Tensor.randn(shape: shape, seed: UInt64(shape.reduce(7) { $0 &* 31 &+ $1 })) }
    func image(_ channels: Int, _ side: Int) throws -> Tensor { try noise([1, channels, side, side]).channelsLast().to(dtype) }
    for parameter in NetworkLayout.network(configuration).parameters where parameter.name.hasSuffix(".weight") {
      let shape = parameter.shape
      switch parameter.role {
      case .convolutionWeight(_, _, let side) where side > largest: continue
      case .convolutionWeight(let stride, let padding, let side):
        try add("convolution \(shape) stride \(stride) of \(side)x\(side)") {
          let kernel = try noise(shape.count == 3 ? shape + [1] : shape).mul(0.1).to(dtype)
          let weight = try serving {
            try ServedParameter.convolution(kernel, stride: stride, padding: padding, side: side, on: .cpu)
          }
          let (x, residual) = (try image(shape[1], side), try image(shape[0], side / stride))
          let bias = try noise([shape[0]]).to(dtype)
          return { try weight.convolve(x, bias, stride: stride, padding: padding, adding: residual) }
        }
        try add("resampling of \(shape[1]) channels of \(side)x\(side)") {
          let x = try image(shape[1], side)
          let compute = ServedCompute(projection: Affine(weight: .joined, bias: .joined), spans: [])
          return { try compute.join(compute.resample(compute.resample(x, .down), .up), x) }
        }
        guard shape[1] % UNetConfiguration.groups == 0 else { continue }
        try add("normalisation of \(shape[1]) channels of \(side)x\(side)") {
          let x = try image(shape[1], side)
          let (weight, scale) = (try noise([shape[1]]), try noise([1, shape[1]]))
          return {
            try x.fusedGroupNorm(groups: UNetConfiguration.groups, weight: weight, bias: weight, scale: scale, shift: scale, silu: true)
          }
        }
      case .embedding, .modulation:
        try add("linear \(shape)") {
          let (x, weight, bias) = (try noise([1, shape[1]]), try ServedParameter.linear(noise(shape), on: .cpu), try noise([shape[0]]))
          return { try weight.linear(x.silu(), bias) }
        }
      case .norm, .convolutionBias, .table: break
      }
    }
    let width = configuration.numHeadChannels
    for side in configuration.attentionResolutions {
      for heads in Set(configuration.levelChannels.map { $0 / width }) {
        try add("attention of \(heads) heads over \(side)x\(side)") {
          let qkv = try image(3 * heads * width, side)
          let compute = ServedCompute(projection: Affine(weight: .joined, bias: .joined), spans: [])
          return { try compute.attend(qkv, heads: heads, newOrder: configuration.useNewAttentionOrder) }
        }
      }
    }
    return operations
  }

  /// Before a batch is divided into its samples, the low-resolution images are upsampled together.
  static func compareBatches(_ configuration: UNetConfiguration) throws {
    guard configuration.superResolution else { return }
    let side = configuration.imageSize
    let samples = try (0..<4).map { try Tensor.randn(shape: [1, 3, side / 4, side / 4], seed: UInt64($0)) }
    func run(_ indices: [Int]) throws -> [[UInt8]] {
      let large = try serving {
        try Tensor.cat(indices.map { samples[$0] }, dim: 0).upsampleBilinear(height: side, width: side)
      }
      return try indices.indices.map { try large.narrow(dim: 0, start: $0, length: 1).bytes() }
    }
    let alone = try samples.indices.map { try run([$0])[0] }
    for threads in 1...2 {
      try Torch.setThreads(threads)
      for size in 1...samples.count {
        for first in samples.indices {
          let indices = (0..<size).map { (first + $0) % samples.count }
          #expect(try run(indices) == indices.map { alone[$0] }, "upsampling of batch \(indices), \(threads) threads")
        }
      }
    }
  }
}
