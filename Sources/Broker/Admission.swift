import Wire

/// Turns a submission into what the workers need: labels as numbers, a seed a sample, every option resolved.
enum Admission {
  static let samplers: Set<String> = ["ddpm", "ddim", "dpm++2m", "unipc"]
  static let maxKeyBytes = 200

  static let maxTenantBytes = 100

  static func tenant(of submission: Submission) -> String {
    submission.tenant.isEmpty ? JobTerms.defaultTenant : submission.tenant
  }

  /// All but the deadline, which depends on when it is.
  static func terms(of submission: Submission, for pipeline: PipelineInfo) throws(Refusal) -> JobTerms {
    guard submission.tenant.utf8.count <= maxTenantBytes else {
      throw Refusal(.invalid, "the tenant's name has \(submission.tenant.utf8.count) bytes; at most \(maxTenantBytes) are allowed")
    }
    var terms = JobTerms(tenant: tenant(of: submission), priority: submission.priority)
    if !submission.holdAfter.isEmpty {
      guard let stage = pipeline.stages.firstIndex(where: { $0.name == submission.holdAfter }) else {
        let stages = pipeline.stages.map(\.name).joined(separator: ", ")
        throw Refusal(
          .invalid, "pipeline \(pipeline.name) has no stage '\(clip(submission.holdAfter, 100))' to hold after; its stages are \(stages)")
      }
      guard stage + 1 < pipeline.stages.count else {
        throw Refusal(.invalid, "nothing comes after stage \(submission.holdAfter), so nothing can be held there")
      }
      terms.holdAfter = UInt32(stage)
    }
    return terms
  }

  static func samples(of runs: [SampleRun], labels: [String], limit: UInt32) throws(Refusal) -> [SampleSeed] {
    var chosen: [(run: SampleRun, labels: Range<UInt32>)] = []
    for run in runs { chosen.append((run, try Self.labels(run.label, in: labels))) }
    let total = chosen.reduce(UInt64(0)) { $0 + UInt64($1.run.count) * UInt64($1.labels.count) }
    guard total > 0 else { throw Refusal(.invalid, "the job asks for no samples; ask for at least one") }
    guard total <= UInt64(limit) else {
      throw Refusal(.invalid, "the job asks for \(total) samples; a job may have \(limit): submit several jobs")
    }
    var samples: [SampleSeed] = []
    samples.reserveCapacity(Int(total))
    for (run, labels) in chosen {
      for label in labels {
        for offset in 0..<UInt64(run.count) {
          samples.append(SampleSeed(label: label, seed: run.seed &+ offset))
        }
      }
    }
    return samples
  }

  /// A label by its name or its number, or `all` of them, unless that is a label's name.
  private static func labels(_ text: String, in labels: [String]) throws(Refusal) -> Range<UInt32> {
    if let index = labels.firstIndex(of: text) { return UInt32(index)..<UInt32(index) + 1 }
    if text == "all" { return 0..<UInt32(labels.count) }
    if let number = UInt32(text), number < labels.count { return number..<number + 1 }
    let shown = labels.prefix(40).joined(separator: ", ") + (labels.count > 40 ? ", …" : "")
    throw Refusal(.invalid, "no label '\(clip(text, 100))'; labels are \(shown), or 0…\(labels.count - 1), or all")
  }

  /// Options of every stage in order, nothing absent but the guidance of those that can't be guided. Those asked for under an empty name are
  /// every stage's, where it takes them; those that name a stage come on top.
  static func options(_ asked: [StageOptions], truncated: Bool, for pipeline: PipelineInfo) throws(Refusal) -> [StageOptions] {
    var resolved = pipeline.stages.map { stage in
      StageOptions(
        stage: stage.name, steps: stage.defaultSteps, sampler: stage.defaultSampler, eta: 0, aug: stage.takesAug ? stage.defaultAug : 0,
        guidance: stage.defaultGuidance)
    }
    var seen: Set<String> = []
    for option in asked.filter({ $0.stage.isEmpty }) + asked.filter({ !$0.stage.isEmpty }) {
      let indices = pipeline.stages.indices.filter { option.stage.isEmpty || pipeline.stages[$0].name == option.stage }
      guard !indices.isEmpty else {
        let stages = pipeline.stages.map(\.name).joined(separator: ", ")
        throw Refusal(.invalid, "pipeline \(pipeline.name) has no stage '\(clip(option.stage, 100))'; its stages are \(stages)")
      }
      guard seen.insert(option.stage).inserted else {
        throw Refusal(.invalid, "options of \(option.stage.isEmpty ? "every stage" : "stage \(option.stage)") were given twice")
      }
      for index in indices { try apply(option, to: &resolved[index], of: pipeline.stages[index]) }
    }
    if truncated, pipeline.stages.count < 2 || !pipeline.stages[1].takesAug {
      throw Refusal(.invalid, "pipeline \(pipeline.name): its second stage takes no augmentation level, so the first cannot be truncated")
    }
    return resolved
  }

  private static func apply(_ option: StageOptions, to resolved: inout StageOptions, of stage: StageInfo) throws(Refusal) {
    if let steps = option.steps {
      guard steps >= 1, steps <= stage.trainSteps else {
        throw Refusal(.invalid, "stage \(stage.name): \(steps) steps are not in 1…\(stage.trainSteps)")
      }
      resolved.steps = steps
    }
    if let sampler = option.sampler {
      guard samplers.contains(sampler) || sampler == stage.defaultSampler else {
        let known = samplers.sorted().joined(separator: ", ")
        throw Refusal(.invalid, "stage \(stage.name): no sampler '\(clip(sampler, 100))'; samplers are \(known)")
      }
      resolved.sampler = sampler
    }
    if let eta = option.eta {
      guard eta >= 0, eta <= 1 else { throw Refusal(.invalid, "stage \(stage.name): eta \(eta) is not in 0…1") }
      resolved.eta = eta
    }
    if let aug = option.aug, stage.takesAug || !option.stage.isEmpty {
      guard stage.takesAug || aug == 0 else {
        throw Refusal(.invalid, "stage \(stage.name) takes no conditioning-augmentation level; leave it out")
      }
      guard aug <= stage.trainSteps else {
        throw Refusal(.invalid, "stage \(stage.name): augmentation level \(aug) is not in 0…\(stage.trainSteps)")
      }
      resolved.aug = aug
    }
    if let guidance = option.guidance, stage.defaultGuidance != nil || !option.stage.isEmpty {
      guard stage.defaultGuidance != nil || guidance == 1 else {
        throw Refusal(.invalid, "stage \(stage.name) can't be guided: its network knows no null class; leave the guidance out")
      }
      guard guidance >= 0, guidance <= 100 else {
        throw Refusal(.invalid, "stage \(stage.name): guidance \(guidance) is not in 0…100")
      }
      if stage.defaultGuidance != nil { resolved.guidance = guidance }
    }
  }
}

/// At most `limit` bytes of a text from outside, for messages.
func clip(_ text: String, _ limit: Int) -> String {
  text.utf8.count <= limit ? text : String(decoding: text.utf8.prefix(limit), as: UTF8.self) + "…"
}
