import Diffusion

/// One training step's examples, flat and in example order.
package struct Batch: Sendable {
  package var count: Int
  /// Pixels a side of x_0.
  package var side: Int
  /// (count, 3, side, side), in [-1, 1].
  package var x0: [Float] = []
  /// ε of the same shape.
  package var noise: [Float] = []
  /// 0-based indices into the schedule.
  package var timesteps: [Int] = []
  /// `nil`: the null class.
  package var labels: [Int?] = []
  /// The low-resolution input, (count, 3, lowSide, lowSide), augmented; empty for a base stage. For windows it is enlarged already.
  package var lowRes: [Float] = []
  package var lowSide = 0
  /// s of each example; empty when the network is not told.
  package var levels: [Int] = []
}

/// Makes batches: which images, which windows, which noise. Example n of a run is a function of (recipe, n).
package struct BatchMaker: Sendable {
  private let setting: StageSetting
  private let source: any PixelSource
  private let redrawn: RedrawnInputs?
  private let recipe: Recipe
  private var order: EpochOrder

  /// `source` has the stage's resolution.
  package init(setting: StageSetting, source: any PixelSource, redrawn: RedrawnInputs? = nil, recipe: Recipe) {
    precondition(source.side == setting.resolution)
    self.setting = setting
    self.source = source
    self.redrawn = redrawn
    self.recipe = recipe
    order = EpochOrder(count: source.count, seed: recipe.seed)
  }

  /// Examples first ..< first + recipe.batch.
  package mutating func batch(first: UInt64) throws(TrainingError) -> Batch {
    let side = recipe.crop ?? setting.resolution
    var batch = Batch(count: recipe.batch, side: side)
    batch.x0.reserveCapacity(recipe.batch * 3 * side * side)
    batch.noise.reserveCapacity(recipe.batch * 3 * side * side)
    for n in first..<first + UInt64(recipe.batch) {
      let random = ExampleRandom(seed: recipe.seed, example: n)
      let index = order.index(ofExample: n)
      var (image, label) = try source.image(index)
      let isFlipped = recipe.flip && random.uniform(.flip) < 0.5
      if isFlipped { image = Resampling.flipped(image, side: setting.resolution) }
      let top = side < setting.resolution ? random.below(setting.resolution - side + 1, .cropTop) : 0
      let left = side < setting.resolution ? random.below(setting.resolution - side + 1, .cropLeft) : 0
      if let lowSide = setting.lowResolution {
        var low: [Float]
        if random.uniform(.redrawn) < recipe.redrawn, let drawn = try redrawn?.input(of: source.path(index)) {
          low = isFlipped ? Resampling.flipped(drawn, side: lowSide) : drawn
        } else {
          low = Resampling.boxAverage(image, side: setting.resolution, factor: setting.resolution / lowSide)
        }
        augment(&low, side: lowSide, random, &batch)
        if side < setting.resolution {
          // Enlarged as a whole and then cut, so that a window's border looks as it will when whole images are sampled.
          low = Resampling.bilinearWindow(
            low, side: lowSide, target: setting.resolution, top: top, left: left, height: side, width: side)
          batch.lowSide = side
        } else {
          batch.lowSide = lowSide
        }
        batch.lowRes.append(contentsOf: low)
      }
      if side < setting.resolution {
        image = Resampling.window(image, side: setting.resolution, top: top, left: left, height: side, width: side)
      }
      batch.x0.append(contentsOf: image)
      batch.noise.append(contentsOf: random.normals(image.count, .noise))
      batch.timesteps.append(random.below(setting.schedule.steps, .timestep))
      batch.labels.append(random.uniform(.labelDrop) < recipe.labelDrop ? nil : label)
    }
    return batch
  }

  private func augment(_ low: inout [Float], side: Int, _ random: ExampleRandom, _ batch: inout Batch) {
    switch setting.lowRes {
    case .plain: break
    case .gaussian(let maxLevel, _, let schedule):
      let s = random.below((recipe.maxLevel ?? maxLevel) + 1, .level)
      batch.levels.append(s)
      guard s > 0 else { return }
      let signal = Float(schedule.alphaBars[s - 1].squareRoot())
      let spread = Float((1 - schedule.alphaBars[s - 1]).squareRoot())
      let noise = random.normals(low.count, .lowResNoise)
      for i in low.indices { low[i] = signal * low[i] + spread * noise[i] }
    case .blur(let sigma, let probability):
      guard random.uniform(.blur) < probability else { return }
      let chosen = sigma.lowerBound + (sigma.upperBound - sigma.lowerBound) * random.uniform(.sigma)
      low = Resampling.blurred(low, side: side, sigma: chosen)
    }
  }
}
