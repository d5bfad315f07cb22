import Diffusion
import Images
import Tensors
import UNet

/// A sheet of samples, one row a class, always of the same seeds: how far a run has come, at a glance.
///
/// A super-resolution stage is shown real low-resolution images; each sample is a group of input, output and original.
struct SampleSheet {
  let setting: StageSetting
  let network: UNet
  let dtype: DType

  private struct Sample {
    var label: Int
    var noise: NoiseSource
    var state: SamplerState
    var low: [Float] = []
    var original: [Float] = []
  }

  func draw(_ source: any PixelSource) throws -> RGBImage {
    let columns = setting.resolution <= 32 ? 8 : setting.resolution <= 64 ? 3 : 1
    var samples: [Sample] = []
    for label in setting.labels.indices {
      // Real images of the class, the first ones of its folder.
      let examples =
        setting.lowResolution == nil ? [] : Array((0..<source.count).lazy.filter { source.label($0) == label }.prefix(columns))
      for column in 0..<columns {
        let noise = NoiseSource(seed: UInt64(label * 1000 + column), stage: setting.lowResolution == nil ? 0 : 1)
        var sample = Sample(
          label: label, noise: noise, state: setting.sampler.start(noise, count: 3 * setting.resolution * setting.resolution))
        if let lowSide = setting.lowResolution {
          guard !examples.isEmpty else { continue }
          sample.original = try source.image(examples[column % examples.count]).planes
          sample.low = Resampling.boxAverage(sample.original, side: setting.resolution, factor: setting.resolution / lowSide)
        }
        samples.append(sample)
      }
    }
    let chunk = max(1, 24 * 32 * 32 / (setting.resolution * setting.resolution))
    for first in stride(from: 0, to: samples.count, by: chunk) {
      try sample(&samples[first..<min(first + chunk, samples.count)])
    }
    var images: [RGBImage] = []
    for sample in samples {
      if let lowSide = setting.lowResolution {
        images.append(image(nearest(sample.low, side: lowSide)))
        images.append(image(sample.state.x))
        images.append(image(sample.original))
      } else {
        images.append(image(sample.state.x))
      }
    }
    return RGBImage.grid(images, columns: setting.lowResolution == nil ? columns : 3 * columns, padding: 2)
  }

  private func sample(_ samples: inout ArraySlice<Sample>) throws {
    let side = setting.resolution
    let count = samples.count
    let labels = try Tensor(samples.map { Int64($0.label) }, shape: [count], device: network.device)
    var lowRes: Tensor?
    var levels: Tensor?
    if let lowSide = setting.lowResolution {
      var lows = samples.map(\.low)
      if case .gaussian(_, let level, let schedule) = setting.lowRes {
        lows = samples.map { Augmentation.zS($0.low, s: level, schedule: schedule, noise: $0.noise) }
        levels = try Tensor([Float](repeating: Float(level), count: count), shape: [count], device: network.device)
      }
      lowRes = try Tensor(lows.flatMap(\.self), shape: [count, 3, lowSide, lowSide], device: network.device)
    }
    for timestep in setting.sampler.timesteps {
      let x = try Tensor(samples.flatMap(\.state.x), shape: [count, 3, side, side], device: network.device).channelsLast()
      let timesteps = try Tensor([Float](repeating: Float(timestep), count: count), shape: [count], device: network.device)
      let output = try network(
        x: x, timesteps: timesteps, labels: labels, lowRes: lowRes, augLevels: levels, training: false, dtype: dtype
      ).floats()
      let size = output.count / count
      output.withUnsafeBufferPointer { output in
        for (offset, i) in samples.indices.enumerated() {
          let own = UnsafeBufferPointer(rebasing: output[offset * size..<(offset + 1) * size])
          let noise = samples[i].noise
          setting.sampler.advance(&samples[i].state, modelOutput: own, noise: noise)
        }
      }
    }
  }

  private func image(_ planes: [Float]) -> RGBImage {
    RGBImage(chw: planes, width: setting.resolution, height: setting.resolution)
  }

  private func nearest(_ planes: [Float], side: Int) -> [Float] {
    let target = setting.resolution
    return (0..<3 * target * target).map { i in
      let (c, y, x) = (i / (target * target), i / target % target, i % target)
      return planes[(c * side + y * side / target) * side + x * side / target]
    }
  }
}
