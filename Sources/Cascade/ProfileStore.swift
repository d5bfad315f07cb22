import Digests
import Foundation
import Glibc
import Tensors

/// Profiles that outlive the worker that measured them: a JSON file each, in a folder that all workers of a user share.
package struct ProfileStore: Sendable {
  /// All that a profile depends on.
  package struct Key: Hashable, Sendable, Codable {
    /// The pipeline's digest in hexadecimal.
    package let pipeline: String
    package let stage: String
    package let numerics: String
    package let device: String
    package let threads: Int
    package let processor: String
    package let processors: Int

    package init(_ engine: StageEngine) {
      pipeline = hex(engine.pipeline.digest)
      stage = engine.pipeline.manifest.stages[engine.stage].name
      numerics = engine.numerics
      device = engine.device.name
      threads = engine.threads
      processor = Processor.model
      processors = Processor.count
    }
  }

  package enum Found: Hashable, Sendable {
    case profile(StageProfile)
    case nothing
    /// There is a file, but not a profile of that key.
    case unusable(reason: String)
  }

  private struct File: Codable {
    /// Raised when a profile of old would mislead.
    static let currentFormat = 2

    let format: Int
    let key: Key
    let timings: [StageProfile.Timing]
    let memory: StageProfile.Memory
    let waited: Double?
  }

  /// No honest file is larger, in bytes.
  private static let sizeLimit = 1 << 16

  package let folder: String

  package init(folder: String) { self.folder = folder }

  /// In the user's folder for caches.
  package init(environment: [String: String] = ProcessInfo.processInfo.environment) {
    self.init(folder: "\(CacheFolder.path(environment: environment))/profiles")
  }

  package func path(_ key: Key) -> String {
    let text = [key.pipeline, key.stage, key.numerics, key.device, "\(key.threads)", key.processor, "\(key.processors)"]
    return "\(folder)/\(hex(sha256(Array(text.joined(separator: "\n").utf8)).prefix(8))).json"
  }

  package func load(_ key: Key) -> Found {
    let path = path(key)
    guard let handle = FileHandle(forReadingAtPath: path) else { return .nothing }
    defer { try? handle.close() }
    do {
      let data = try handle.read(upToCount: Self.sizeLimit + 1) ?? Data()
      guard data.count <= Self.sizeLimit else { return .unusable(reason: "\(path) is too large for a profile") }
      let file = try JSONDecoder().decode(File.self, from: data)
      guard file.format == File.currentFormat, file.key == key else {
        return .unusable(reason: "\(path) is of another version, stage or machine")
      }
      let profile = StageProfile(timings: file.timings, memory: file.memory, waited: file.waited)
      guard profile.isPlausible else { return .unusable(reason: "\(path) holds figures that cannot be") }
      return .profile(profile)
    } catch {
      return .unusable(reason: "\(path) is damaged: \(error.localizedDescription)")
    }
  }

  /// Replaces what there is under the key as a whole, in one moment.
  package func save(_ profile: StageProfile, for key: Key) throws {
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let content = File(format: File.currentFormat, key: key, timings: profile.timings, memory: profile.memory, waited: profile.waited)
    let data = try encoder.encode(content)
    var file = try AtomicFile(replacing: path(key))
    try file.write(Array(data))
    try file.commit()
  }

  /// Runs `body` while no other process with this folder does, for who measures at the same time measures the other. One that keeps its turn for
  /// longer than `patience` is not waited for, nor is anyone where the folder can't be written to.
  package func takingTurns<Result, Failure: Error>(
    patience: Duration, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let descriptor = open("\(folder)/turn", O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    // Gives the turn back, too.
    defer { if descriptor >= 0 { close(descriptor) } }
    let deadline = ContinuousClock.now + patience
    while descriptor >= 0, flock(descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK || errno == EINTR, ContinuousClock.now < deadline
    {
      Thread.sleep(forTimeInterval: 0.02)
    }
    return try body()
  }
}

extension StageProfile {
  /// Whether a worker may build on it, wherever it comes from.
  var isPlausible: Bool {
    !timings.isEmpty && Set(timings.map(\.batch)).count == timings.count
      && timings.allSatisfy { (1...ProfilePlan.largestBatch).contains($0.batch) && $0.stepMilliseconds > 0 && $0.stepMilliseconds.isFinite }
      && [memory.computing, memory.held, memory.lanes].allSatisfy { (1...1 << 50).contains($0) } && (0...1).contains(waited ?? 0)
  }
}
