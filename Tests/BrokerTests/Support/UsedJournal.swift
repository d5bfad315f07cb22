import Foundation
import Load
import SeededRandom
import Testing
import Wire

@testable import Broker

/// The files of a journal that a broker has worked with for a while, and what was in it after each commit.
struct UsedJournal {
  struct Commit {
    /// Length of the log once it was made.
    var logBytes: Int
    var snapshot: Snapshot
  }

  let database: Data
  let log: Data
  let mark: Data
  /// The tensor files, by their numbers.
  let tensors: [Int64: Data]
  private(set) var commits: [Commit] = []
  private(set) var outputs: [TensorKey: WireTensor] = [:]
  let pipeline: PipelineInfo

  var last: Snapshot { commits.last?.snapshot ?? Snapshot() }

  /// - Parameters:
  ///   - isClosed: the journal was closed in good order, so that everything is in the file and nothing in the log.
  ///   - isTakenOver: everything is in the file, and in the log too.
  ///   - resolution: of the first stage's images.
  init(seed: UInt64, rounds: Int, isClosed: Bool, isTakenOver: Bool = false, resolution: UInt32 = 1) throws {
    pipeline = makePipeline(stages: 2, resolution: resolution)
    let folder = TemporaryFolder()
    var random = SplitMix64(seed: seed)
    var limits = BrokerLimits()
    limits.keptSamples = 60
    limits.maxAttempts = 3
    let driver = CoreDriver(limits)
    let journal = try Journal(directory: folder.path)
    let file = folder.path + "/journal.sqlite"
    var written = 0
    var waiting: [(peer: PeerID, assignment: Assignment)] = []
    for stage in 0..<2 {
      driver.hello(PeerID([UInt8(stage)]), makeHello("w\(stage)", pipeline: pipeline, stage: stage, slots: 4))
    }
    for _ in 0..<rounds {
      for _ in 0..<8 {
        if random.chance(0.35) {
          _ = driver.submit(UInt32.random(in: 1...5, using: &random), key: random.chance(0.5) ? "key \(random.next())" : "")
        }
        for peer in [[0], [1]].map(PeerID.init) {
          for assignment in driver.takeAssignments(peer) { waiting.append((peer, assignment)) }
        }
        guard let index = waiting.indices.randomElement(using: &random) else { continue }
        let (peer, assignment) = waiting[index]
        switch Int.random(in: 0..<12, using: &random) {
        case 0: driver.handle(.worker(peer, .failure(assignment.task, reason: "broken", permanent: random.chance(0.3))))
        case 1...3:
          let checkpoint = TaskCheckpoint(step: UInt32.random(in: 1...4, using: &random), tensors: [checkpointTensor(random.next())])
          driver.handle(.worker(peer, .checkpoint(assignment.task, checkpoint)))
          continue
        case 4 where random.chance(0.2): driver.ask(.cancel(assignment.task.task.job))
        default: driver.finish(assignment, at: peer, pipeline: pipeline)
        }
        waiting.remove(at: index)
      }
      try journal.commit(driver.records[written...])
      written = driver.records.count
      let bytes = try Data(contentsOf: URL(fileURLWithPath: file + "-wal")).count
      commits.append(Commit(logBytes: bytes, snapshot: driver.store.snapshot))
    }
    outputs = driver.store.outputs
    if isTakenOver { try journal.execute("PRAGMA wal_checkpoint(PASSIVE)") }
    if isClosed { try journal.close() }
    database = try Data(contentsOf: URL(fileURLWithPath: file))
    log = isClosed ? Data() : try Data(contentsOf: URL(fileURLWithPath: file + "-wal"))
    tensors = try DataDirectory.Files(folder.path).contents()
    mark = try Data(contentsOf: URL(fileURLWithPath: folder.path + "/journal.mark"))
    if !isClosed { try journal.close() }
  }

  /// Puts files into a folder; `nil` leaves one out.
  func lay(_ folder: TemporaryFolder, database: Data?, log: Data?, mark: Data?, tensors: [Int64: Data]? = nil) throws {
    for (number, data) in tensors ?? self.tensors {
      try data.write(to: URL(fileURLWithPath: DataDirectory.Files(folder.path).tensors(number)))
    }
    for (name, data) in [("journal.sqlite", database), ("journal.sqlite-wal", log), ("journal.mark", mark)] {
      if let data, !(name.hasSuffix("wal") && data.isEmpty) {
        try data.write(to: URL(fileURLWithPath: folder.path + "/" + name))
      }
    }
  }
}

extension DataDirectory.Files {
  /// Of the tensor files, by their numbers.
  func contents() throws -> [Int64: Data] {
    try Dictionary(uniqueKeysWithValues: tensorFiles.keys.map { ($0, try Data(contentsOf: URL(fileURLWithPath: tensors($0)))) })
  }
}
