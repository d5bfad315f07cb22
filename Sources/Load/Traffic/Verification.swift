import Client
import Digests
import SeededRandom
import Wire

/// Compares what a run delivered with what it should have delivered. It comes after the run: the reference takes processor time, and a fleet on
/// the same machine would be slower for it.
struct Verification {
  /// Jobs looked at, at a time.
  private static let concurrency = 8

  struct Settings: Sendable {
    var verifier: any Verifier
    /// Of the images, from 0 to 1; chosen by their seeds, so that the same run has the same ones.
    var share: Double
  }

  /// What became of one job's images.
  struct Result: Sendable {
    var verified = 0
    var wrong: [WrongImage] = []
    /// Those that the broker does not have any more.
    var missing = 0
  }

  private struct Delivered: Sendable {
    var job: JobID
    var sample: UInt32
    var asked: ReferenceSample
    var digest: [UInt8]
    var numerics: String
  }

  private let settings: Settings
  private let client: WeirClient

  init(_ settings: Settings, client: WeirClient) {
    self.settings = settings
    self.client = client
  }

  /// - Parameter jobs: that were done.
  func run(_ jobs: [JobID]) async throws -> [JobID: Result] {
    var results: [JobID: Result] = [:]
    var delivered: [Delivered] = []
    var stages: [String] = []
    try await withThrowingTaskGroup(of: (JobID, [String], [Delivered], Int).self) { group in
      var rest = jobs[...]
      func startNext() {
        if let job = rest.popFirst() { group.addTask { try await fetch(job) } }
      }
      for _ in 0..<Self.concurrency { startNext() }
      while let (job, names, images, missing) = try await group.next() {
        results[job] = Result(missing: missing)
        delivered += images
        if !names.isEmpty { stages = names }
        startNext()
      }
    }
    // A job's images stay together, whoever's fetching was quicker.
    delivered.sort { ($0.job, $0.sample) < ($1.job, $1.sample) }
    let references = try await settings.verifier.references(of: delivered.map(\.asked))
    for (image, reference) in zip(delivered, references) {
      if let numerics = reference.numerics, numerics != image.numerics {
        throw Broken(
          """
          the images cannot be compared: the fleet computes in numerics class \(image.numerics), the reference here in \(numerics), and bytes \
          are promised within a class. Verify on a machine like the workers'
          """)
      }
      results[image.job]?.verified += 1
      if image.digest != reference.digests.last {
        results[image.job]?.wrong.append(try await blame(image, reference, stages))
      }
    }
    return results
  }

  private func fetch(_ job: JobID) async throws -> (JobID, [String], [Delivered], missing: Int) {
    let status: JobStatus
    do { status = try await client.status(of: job) } catch {
      if error.refusal?.code == .notFound { return (job, [], [], 1) }
      throw error
    }
    var images: [Delivered] = []
    var missing = 0
    for sample in status.details where sample.state == .done && isChosen(sample) {
      do {
        // It has the digest that it came with: the client has looked.
        let image = try await patiently { try await client.fetch(job, sample: sample.index) }
        let asked = ReferenceSample(label: sample.label, seed: sample.seed, options: status.options, truncated: status.truncated)
        images.append(Delivered(job: job, sample: sample.index, asked: asked, digest: image.digest, numerics: image.numerics))
      } catch let error as ClientError where error.refusal?.code == .notFound {
        missing += 1
      }
    }
    return (job, status.stages.map(\.stage), images, missing)
  }

  private func isChosen(_ sample: SampleStatus) -> Bool {
    var random = SplitMix64(seed: sample.seed ^ UInt64(sample.label) << 48)
    return random.unit() < settings.share
  }

  private func blame(_ image: Delivered, _ reference: Reference, _ stages: [String]) async throws -> WrongImage {
    let attempts = try await client.history(of: image.job, from: image.sample).filter { $0.sample == image.sample }
    return WrongImage(job: image.job, sample: image.sample, found: image.digest, reference, attempts, stages: stages)
  }
}

extension WrongImage {
  /// The guilty attempt is that of the first stage that gave something else than the reference: those after it worked on a wrong input.
  ///
  /// - Parameters:
  ///   - found: the image's digest.
  ///   - attempts: at the sample.
  init(job: JobID, sample: UInt32, found: [UInt8], _ reference: Reference, _ attempts: [Attempt], stages: [String]) {
    let results = attempts.filter { $0.digest != nil }.sorted { ($0.stage, $0.number) < ($1.stage, $1.number) }
    let guilty = results.first { reference.digests.indices.contains(Int($0.stage)) && $0.digest != reference.digests[Int($0.stage)] }
    let stage = guilty.map { Int($0.stage) } ?? reference.digests.count - 1
    self.init(
      job: "\(job)", sample: sample, stage: guilty == nil || !stages.indices.contains(stage) ? "" : stages[stage],
      worker: guilty?.worker ?? "", attempt: guilty?.number ?? 0, expected: stage < 0 ? "" : hex(reference.digests[stage]),
      found: hex(guilty?.digest ?? found))
  }

  /// For people.
  package var text: String {
    let culprit =
      stage.isEmpty
      ? "of no stage whose result the broker remembers: it was changed after it was computed, or its history is lost"
      : "computed wrongly in stage \(stage) by worker \(worker), attempt \(attempt)"
    return "sample \(sample) of job \(job), \(culprit): digest \(found.prefix(16))…, expected \(expected.prefix(16))…"
  }
}
