package import Diffusion

/// What a job asks of one stage; what is `nil` is the pipeline's default.
package struct StageOverride: Hashable, Sendable {
  package var stage: String
  package var steps: Int?
  package var sampler: String?
  package var eta: Double?
  package var aug: Int?
  /// Weight of classifier-free guidance; 1: none.
  package var guidance: Double?

  package init(
    stage: String, steps: Int? = nil, sampler: String? = nil, eta: Double? = nil, aug: Int? = nil, guidance: Double? = nil
  ) {
    self.stage = stage
    self.steps = steps
    self.sampler = sampler
    self.eta = eta
    self.aug = aug
    self.guidance = guidance
  }
}

/// How every stage of a pipeline samples, nothing absent.
package struct SamplingOptions: Hashable, Sendable {
  package struct Stage: Hashable, Sendable {
    package let kind: SamplerKind
    /// Over the whole range of timesteps; a truncated run visits fewer.
    package let steps: Int
    package let spacing: StepSpacing
    package let eta: Double
    /// s, the level of the input's Gaussian augmentation; 0: none.
    package let aug: Int
    /// `nil`: none, and the network is called once a step.
    package let guidance: Guidance?
  }

  /// Of each stage of the pipeline, in order.
  package let stages: [Stage]
  /// The first stage stops at the second's s, and the second takes what it left (Ho et al. 2022, section 4.2).
  package let truncated: Bool

  /// Fills in the defaults and checks names and ranges.
  package init(_ manifest: Manifest, overrides: [StageOverride] = [], truncated: Bool = false) throws(CascadeError) {
    var given: [Int: StageOverride] = [:]
    for override in overrides {
      let index = try manifest.stage(named: override.stage)
      guard given.updateValue(override, forKey: index) == nil else {
        throw CascadeError(.options, "stage \(override.stage): its options were given twice")
      }
    }
    var stages: [Stage] = []
    for (index, stage) in manifest.stages.enumerated() {
      let override = given[index]
      let steps = override?.steps ?? stage.sampler.steps
      guard (1...stage.schedule.steps).contains(steps) else {
        throw CascadeError(.options, "stage \(stage.name): \(steps) steps; choose 1 to \(stage.schedule.steps), its training steps")
      }
      var kind = stage.sampler.kind
      if let name = override?.sampler {
        guard let named = SamplerKind(rawValue: name) else {
          let known = SamplerKind.allCases.map(\.rawValue).joined(separator: ", ")
          throw CascadeError(.options, "stage \(stage.name): no sampler \"\(name)\"; samplers are \(known)")
        }
        kind = named
      }
      let eta = override?.eta ?? 0
      guard eta >= 0, eta <= 1 else { throw CascadeError(.options, "stage \(stage.name): eta \(eta); choose 0 (deterministic) to 1") }
      let aug = override?.aug ?? stage.defaultAug
      guard (0...stage.maxAug).contains(aug) else {
        throw CascadeError(
          .options,
          stage.takesAug
            ? "stage \(stage.name): augmentation level \(aug); choose 0 (none) to \(stage.maxAug), the highest it was trained with"
            : "stage \(stage.name) takes no augmentation level; leave it out")
      }
      let guidance = try Self.guidance(override?.guidance, of: stage)
      stages.append(Stage(kind: kind, steps: steps, spacing: stage.sampler.spacing, eta: eta, aug: aug, guidance: guidance))
    }
    if truncated, manifest.stages.count < 2 || !manifest.stages[1].takesAug {
      throw CascadeError(
        .options, "pipeline \(manifest.name): its second stage takes no augmentation level, so the first cannot be truncated")
    }
    self.stages = stages
    self.truncated = truncated
  }

  /// With a weight of 1 there is none.
  private static func guidance(_ weight: Double?, of stage: Manifest.Stage) throws(CascadeError) -> Guidance? {
    guard let own = stage.guidance else {
      guard weight == nil || weight == 1 else {
        throw CascadeError(
          .options,
          "stage \(stage.name) cannot be guided: it has no guidance in \(Manifest.fileName), which says that it knows the null class")
      }
      return nil
    }
    do {
      let wanted = try Guidance(weight: weight ?? own.weight, threshold: own.threshold)
      return wanted.weight == 1 ? nil : wanted
    } catch {
      throw CascadeError(.options, "stage \(stage.name): \(error.message)")
    }
  }
}
