import Foundation
import GRDB
import Glibc
import SeededRandom
import Testing
import Wire
import ZeroMQ

@testable import Broker

/// Large tensors, which are in files of their own.
struct TensorFilesTests {
  let folder = TemporaryFolder()
  let pipeline = makePipeline(stages: 3)
  let job = JobID(rawValue: 5)

  var files: DataDirectory.Files { DataDirectory.Files(folder.path) }

  /// 48 KiB, which no other seed has.
  func large(_ seed: UInt64) -> WireTensor { Oracle.output(seed, resolution: 64) }

  func accepted(_ id: JobID, samples: Int) -> Broker.Record {
    .accepted(
      JobRecord(
        id: id, sequence: id.rawValue, pipeline: pipeline.digest, key: "",
        options: pipeline.stages.map { StageOptions(stage: $0.name, steps: 4) },
        truncated: false, submittedUnixMilliseconds: 0, samples: (0..<samples).map { SampleSeed(label: 0, seed: UInt64($0)) }))
  }

  func done(_ sample: UInt32, stage: UInt32 = 0, _ tensor: WireTensor) throws -> Broker.Record {
    let outcome = StageOutcome(digest: try #require(ContentDigest(tensor.digest)), numerics: "cpu", bytes: UInt64(tensor.data.count))
    return .stageDone(TaskID(job: job, sample: sample, stage: stage), outcome, output: tensor)
  }

  func key(_ sample: UInt32, stage: UInt32 = 0) -> TensorKey { TensorKey(job: job, sample: sample, stage: stage) }

  /// - Parameters:
  ///   - unused: bytes that may lie about.
  ///   - cached: files that the kernel may keep in its cache beside the newest.
  func open(_ unused: Int = 0, cached: Int64 = 4) throws -> Journal {
    var limits = TensorFiles.Limits()
    limits.fileBytes = 100_000
    limits.unusedBytes = unused
    limits.cachedFiles = cached
    return try Journal(directory: folder.path, tensors: limits)
  }

  /// Whether this file system can do without its cache, which one that lies in memory cannot.
  func cacheCanGo() throws -> Bool {
    let path = folder.path + "/probe"
    try Data(repeating: 1, count: 4_096).write(to: URL(fileURLWithPath: path))
    let descriptor = Glibc.open(path, O_RDONLY)
    defer { close(descriptor) }
    #expect(fsync(descriptor) == 0)
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
    return try cachedPages(path) == 0
  }

  /// Pages of a file that the kernel has in its cache.
  func cachedPages(_ path: String) throws -> Int {
    let bytes = try #require(FileManager.default.attributesOfItem(atPath: path)[.size] as? Int)
    let descriptor = Glibc.open(path, O_RDONLY)
    defer { close(descriptor) }
    let memory = try #require(mmap(nil, bytes, PROT_READ, MAP_SHARED, descriptor, 0))
    defer { munmap(memory, bytes) }
    var pages = [UInt8](repeating: 0, count: (bytes + 4_095) / 4_096)
    #expect(mincore(memory, bytes, &pages) == 0)
    return pages.count { $0 & 1 != 0 }
  }

  func tidy(_ journal: Journal) throws { for _ in 0..<1_000 where journal.isUntidy { try journal.tidy() } }

  @Test func placesAreNumbers() {
    for (file, offset, count) in [(1, 0, 1), (1, 4_096, 4_096), (77, 8_192, 4_097), (Int64(1) << 32, 64 << 20, 64 << 20)]
      as [(Int64, Int, Int)]
    {
      let place = TensorPlace(file: file, offset: offset, count: count)
      #expect(TensorPlace(journalValue: place.journalValue) == place)
      #expect(place.file == file && place.offset == offset && place.end >= offset + count && place.end < offset + count + 4_096)
      #expect(TensorPlace.values(ofFile: file).contains(place.journalValue))
      #expect(!TensorPlace.values(ofFile: file + 1).contains(place.journalValue))
    }
    for value in [Int64.min, -1, 0, .max] { #expect(TensorPlace(journalValue: value).journalValue == value) }
  }

  @Test func theKernelNeedNotCacheWhatIsOld() throws {
    let journal = try open(cached: 2)
    try journal.commit([.pipeline(pipeline), accepted(job, samples: 24)])
    for sample in 0..<24 as Range<UInt32> { try journal.commit([try done(sample, large(UInt64(sample)))]) }
    let numbers = files.tensorFiles.keys.sorted()
    #expect(numbers.count > 6)
    if try cacheCanGo() {
      #expect(try cachedPages(files.tensors(numbers[numbers.count - 1])) > 0)
      for file in numbers.dropLast(4) { #expect(try cachedPages(files.tensors(file)) == 0, "tensor file \(file)") }
    }
    for sample in 0..<24 as Range<UInt32> { #expect(try journal.output(key(sample)) == large(UInt64(sample))) }
    try journal.close()
  }

  @Test func whatIsLargeLiesBesideTheJournal() throws {
    var journal = try open()
    let small = Oracle.output(1, resolution: 8)
    let checkpoint = large(100).data
    let state = try WireTensor(name: "checkpoint.x", dtype: .f32, shape: [3, 64, 64], data: checkpoint)
    try journal.commit([.pipeline(pipeline), accepted(job, samples: 8), try done(0, small), try done(1, large(1)), try done(2, large(2))])
    try journal.commit([
      .checkpoint(
        TaskID(job: job, sample: 3, stage: 0), CheckpointRecord(step: 2, numerics: "cpu", bytes: UInt64(checkpoint.count) + 8),
        [state, checkpointTensor(3)])
    ])
    for _ in 0..<2 {
      #expect(try journal.output(key(0)) == small)
      #expect(try journal.output(key(1)) == large(1))
      #expect(try journal.output(key(2)) == large(2))
      #expect(try journal.checkpoint(of: TaskID(job: job, sample: 3, stage: 0)) == [state, checkpointTensor(3)])
      #expect(try journal.count("output WHERE typeof(data) = 'integer'") == 2)
      #expect(try journal.count("checkpoint WHERE typeof(data) = 'integer'") == 1)
      try journal.close()
      #expect(try JournalCheck(directory: folder.path).findings == [])
      #expect(try JournalCheck(directory: folder.path).tensors == 5)
      journal = try open()
    }
    try journal.close()
    let data = try files.contents().values
    #expect(data.contains { $0.range(of: Data(large(1).data.bytes)) != nil })
    #expect(try Data(contentsOf: URL(fileURLWithPath: files.journal)).count < 200_000)
  }

  /// The version before had them in their rows.
  @Test func whatIsLargeAndInItsRowIsRead() throws {
    var journal = try open()
    try journal.commit([.pipeline(pipeline), accepted(job, samples: 1), try done(0, large(1))])
    try journal.database.writeWithoutTransaction { db in
      try db.execute(sql: "UPDATE output SET data = ?", arguments: [Data(large(1).data.bytes)])
    }
    try journal.close()
    try FileManager.default.removeItem(atPath: files.tensors(1))
    #expect(try JournalCheck(directory: folder.path).findings == [])
    journal = try open()
    #expect(journal.findings == [])
    #expect(try journal.output(key(0)) == large(1))
    try journal.close()
  }

  @Test func filesGoWhenNothingInThemIsNeeded() throws {
    let journal = try open(200_000)
    try journal.commit([.pipeline(pipeline), accepted(job, samples: 40)])
    for sample in 0..<40 as Range<UInt32> { try journal.commit([try done(sample, large(UInt64(sample)))]) }
    #expect(files.tensorFiles.count >= 13)
    let before = try journal.restore()
    for sample in 0..<39 as Range<UInt32> { try journal.commit([try done(sample, stage: 1, Oracle.output(1, resolution: 1))]) }
    // Somebody who reads the journal may still need them.
    try DatabaseQueue(path: files.journal).read { reader in
      _ = try Row.fetchAll(reader, sql: "SELECT id FROM turn")
      try tidy(journal)
      #expect(files.tensorFiles.count >= 13)
    }
    try journal.commit([.failuresCounted(TaskID(job: job, sample: 39, stage: 1), failures: 1)])
    // It is looked at again when a file becomes full or unused.
    for sample in 0..<3 as Range<UInt32> { try journal.commit([try done(sample, stage: 2, large(UInt64(sample) + 100))]) }
    try tidy(journal)
    #expect(files.tensorFiles.values.reduce(0, +) <= 500_000, "\(files.tensorFiles)")
    #expect(try journal.output(key(39)) == large(39))
    #expect(try journal.restore() != before)
    try journal.close()
    #expect(try JournalCheck(directory: folder.path).findings == [])
  }

  /// One tensor in each file is still needed, so no file goes by itself.
  @Test func whatIsLeftMoves() throws {
    var journal = try open(200_000)
    try journal.commit([.pipeline(pipeline), accepted(job, samples: 60)])
    for sample in 0..<60 as Range<UInt32> { try journal.commit([try done(sample, large(UInt64(sample)))]) }
    let kept = Set((0..<60 as Range<UInt32>).filter { $0 % 6 == 0 })
    for sample in 0..<60 as Range<UInt32> where !kept.contains(sample) {
      try journal.commit([try done(sample, stage: 1, Oracle.output(1, resolution: 1))])
    }
    #expect(files.tensorFiles.values.reduce(0, +) > 2_900_000)
    try tidy(journal)
    #expect(files.tensorFiles.values.reduce(0, +) < 1_400_000, "\(files.tensorFiles)")
    for round in 0..<2 {
      for sample in kept { #expect(try journal.output(key(sample)) == large(UInt64(sample)), "sample \(sample), round \(round)") }
      try journal.close()
      #expect(try JournalCheck(directory: folder.path).findings == [])
      journal = try open(200_000)
    }
    try journal.close()
  }

  @Test func aCommitThatFailsLeavesNoBytes() throws {
    let journal = try open()
    try journal.commit([.pipeline(pipeline), accepted(job, samples: 8), try done(0, large(0))])
    let before = files.tensorFiles
    // Several files' worth, then a job that is there already.
    let next = try (1..<7 as Range<UInt32>).map { try done($0, large(UInt64($0))) }
    for _ in 0..<3 {
      #expect(code { try journal.commit(next + [accepted(job, samples: 1)]) } == .writeFailed)
      #expect(files.tensorFiles == before)
      #expect(try journal.output(key(0)) == large(0))
    }
    try journal.commit(next)
    for sample in 0..<7 as Range<UInt32> { #expect(try journal.output(key(sample)) == large(UInt64(sample))) }
    try journal.close()
    #expect(try JournalCheck(directory: folder.path).findings == [])
  }

  @Test func withoutSpaceForTensorsNothingIsWrittenAndNothingIsLost() throws {
    let journal = try open()
    try journal.commit([.pipeline(pipeline), accepted(job, samples: 8)])
    try FileManager.default.createSymbolicLink(atPath: files.tensors(1), withDestinationPath: "/dev/full")
    let before = try journal.restore()
    for _ in 0..<3 { #expect(code { try journal.commit([try done(0, large(0))]) } == .stalled) }
    #expect(try journal.restore() == before)
    try FileManager.default.removeItem(atPath: files.tensors(1))
    try journal.commit([try done(0, large(0))])
    #expect(try journal.output(key(0)) == large(0))
    try journal.close()
  }

  @Test func aBackupHasTheTensorsToo() throws {
    let target = folder.path + "-copy"
    defer { try? FileManager.default.removeItem(atPath: target) }
    let journal = try open()
    try journal.commit([.pipeline(pipeline), accepted(job, samples: 8)])
    for sample in 0..<8 as Range<UInt32> { try journal.commit([try done(sample, large(UInt64(sample)))]) }
    for sample in 0..<3 as Range<UInt32> { try journal.commit([try done(sample, stage: 1, Oracle.output(1, resolution: 1))]) }
    #expect(try JournalBackup.copy(from: folder.path, to: target).tensors == 8)
    let last = try journal.restore()
    try journal.close()
    let copy = try Journal(directory: target)
    #expect(copy.findings == [])
    #expect(try copy.restore() == last)
    for sample in 3..<8 as Range<UInt32> { #expect(try copy.output(key(sample)) == large(UInt64(sample))) }
    try copy.close()
    // The file in which nothing is needed stays behind.
    #expect(!DataDirectory.Files(target).tensorFiles.keys.contains(1))
  }

  // MARK: Damage

  /// Opens the files as a broker does: what is damaged is said when it is looked for, and nothing else is lost.
  func damaged(_ used: UsedJournal, _ tensors: [Int64: Data]) throws -> (lost: Set<JobID>, unreadable: Set<TensorKey>) {
    let folder = TemporaryFolder()
    try used.lay(folder, database: used.database, log: used.log, mark: used.mark, tensors: tensors)
    let check = try JournalCheck(directory: folder.path)
    let journal = try Journal(directory: folder.path)
    let last = Dictionary(uniqueKeysWithValues: used.last.jobs.map { ($0.record.id, $0) })
    let jobs = try journal.restore().jobs
    #expect(Set(jobs.map(\.record.id)) == Set(last.keys))
    let lost = Set(jobs.filter { $0 != last[$0.record.id] }.map(\.record.id))
    var unreadable: Set<TensorKey> = []
    for (key, tensor) in used.outputs {
      do { #expect(try journal.output(key) == tensor) } catch { unreadable.insert(key) }
    }
    #expect(lost.isEmpty == journal.findings.isEmpty, "\(journal.findings)")
    #expect(check.findings.filter { !$0.contains("table checkpoint") }.isEmpty == unreadable.isEmpty, "\(check.findings)")
    try journal.close()
    return (lost, unreadable)
  }

  @Test func aTensorFileCutAnywhere() throws {
    let used = try UsedJournal(seed: 21, rounds: 8, isClosed: false, resolution: 64)
    let (number, data) = try #require(used.tensors.first)
    #expect(used.tensors.count == 1 && data.count > 1 << 20)
    var before = 0
    for length in stride(from: data.count, through: 0, by: -data.count / 23) {
      let (lost, unreadable) = try damaged(used, [number: data.prefix(length)])
      #expect(unreadable.count >= before, "cut to \(length) of \(data.count) bytes")
      let needed = unreadable.filter { isNeeded($0, in: used.last) }
      #expect(needed.allSatisfy { lost.contains($0.job) }, "cut to \(length): what is missing is found at opening")
      before = unreadable.count
    }
    #expect(try damaged(used, [:]).unreadable == Set(used.outputs.filter { $0.value.data.count >= TensorFiles.leastBytes }.keys))
  }

  /// Whether something is still to be made of an output, or it is a result.
  func isNeeded(_ key: TensorKey, in snapshot: Snapshot) -> Bool {
    guard let job = snapshot.jobs.first(where: { $0.record.id == key.job }) else { return false }
    let sample = job.samples[Int(key.sample)]
    return ![.cancelled, .expired].contains(job.ending?.state) && !sample.isCancelled && sample.error == nil
  }

  @Test func aBitOfATensorFileFlips() throws {
    let used = try UsedJournal(seed: 22, rounds: 8, isClosed: true, resolution: 64)
    let (number, data) = try #require(used.tensors.first)
    var random = SplitMix64(seed: 7)
    var found = 0
    for round in 0..<20 {
      var flipped = data
      let position = Int.random(in: 0..<data.count, using: &random)
      flipped[position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      let (lost, unreadable) = try damaged(used, [number: flipped])
      #expect(lost.isEmpty && unreadable.count <= 1, "round \(round): byte \(position) of \(data.count): \(unreadable)")
      found += unreadable.count
    }
    #expect(found > 0)
  }

  /// Rows are taken from pages that SQLite can't read, and still point to their tensors; the damaged journal is kept with all that it points to.
  @Test func aJournalBuiltAnewHasItsTensors() throws {
    let used = try UsedJournal(seed: 23, rounds: 8, isClosed: true, resolution: 64)
    var database = used.database
    // The header of the schema's page: SQLite finds no table.
    database.replaceSubrange(100..<108, with: Data(repeating: 0xFF, count: 8))
    try used.lay(folder, database: database, log: nil, mark: used.mark)
    let journal = try Journal(directory: folder.path)
    #expect(try journal.restore() == used.last)
    for (key, tensor) in used.outputs { #expect(try journal.output(key) == tensor) }
    try journal.close()
    let aside = try #require(try FileManager.default.contentsOfDirectory(atPath: folder.path).first { $0.hasPrefix("damaged-") })
    #expect(try DataDirectory.Files(folder.path + "/" + aside).contents() == used.tensors)
  }
}
