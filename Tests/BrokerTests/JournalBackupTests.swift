import Foundation
import Testing
import Wire
import ZeroMQ

@testable import Broker

struct JournalBackupTests {
  let folder = TemporaryFolder()

  @Test func aRunningBrokersJournalIsCopiedAsItIs() throws {
    let used = try UsedJournal(seed: 9, rounds: 30, isClosed: false)
    let source = folder.path + "/source"
    try FileManager.default.createDirectory(atPath: source, withIntermediateDirectories: false)
    let journal = try Journal(directory: source)
    let pipeline = makePipeline()
    func job(_ number: UInt64) -> Record {
      .accepted(
        JobRecord(
          id: JobID(rawValue: number), sequence: number, pipeline: pipeline.digest, key: "", options: used.last.jobs[0].record.options,
          truncated: false, submittedUnixMilliseconds: 1, samples: [SampleSeed(label: 0, seed: number)]))
    }
    try journal.commit([.pipeline(pipeline), job(1)])
    let check = try JournalCheck(directory: source)
    #expect(check.isInUse && check.findings == [] && check.jobs == 1)
    #expect(try JournalBackup.copy(from: source, to: folder.path + "/first").jobs == 1)
    try journal.commit([job(2)])
    let before = try journal.restore()
    try JournalBackup.copy(from: source, to: folder.path + "/second")
    try journal.commit([job(3)])
    try journal.close()

    let copy = try Journal(directory: folder.path + "/second")
    #expect(try copy.restore() == before)
    #expect(copy.findings == [])
    try copy.close()
    #expect(try JournalCheck(directory: folder.path + "/second").findings == [])
    // Of a broker that does not run, too.
    #expect(try JournalBackup.copy(from: source, to: folder.path + "/third").jobs == 3)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == ["first", "second", "source", "third"])
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path + "/third").sorted() == ["journal.mark", "journal.sqlite"])
  }

  @Test func whatCannotBeCopiedLeavesNothing() throws {
    let used = try UsedJournal(seed: 10, rounds: 30, isClosed: true)
    let source = TemporaryFolder()
    let target = folder.path + "/copy"
    func failure(_ from: String, _ to: String) -> JournalError.Code? {
      do throws(JournalError) {
        try JournalBackup.copy(from: from, to: to)
        return nil
      } catch {
        return error.code
      }
    }
    #expect(failure(source.path, target) == .unusable)
    var database = used.database
    database[database.count - 3_000] ^= 1
    database.replaceSubrange(8_192..<8_292, with: Data(repeating: 0x55, count: 100))
    try used.lay(source, database: database, log: nil, mark: used.mark)
    #expect(failure(source.path, target) == .damaged)
    #expect(failure(source.path, "/proc/weir") == .unusable)
    try used.lay(source, database: used.database, log: nil, mark: used.mark)
    #expect(failure(source.path, folder.path) == .unusable)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == [])
    #expect(failure(source.path, target + "/") == nil)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["copy"])
  }

  /// A broker would start on it and say what is lost once it is asked for; so a copy of it is better than none.
  @Test func aDamagedTensorIsCopiedAndNamed() throws {
    let used = try UsedJournal(seed: 10, rounds: 30, isClosed: true)
    let source = TemporaryFolder()
    var database = used.database
    let tensor = try #require(used.outputs.values.first { database.range(of: Data($0.data.bytes)) != nil })
    let place = try #require(database.range(of: Data(tensor.data.bytes)))
    database[place.lowerBound + 3] ^= 16
    try used.lay(source, database: database, log: nil, mark: used.mark)
    let check = try JournalBackup.copy(from: source.path, to: folder.path + "/copy")
    #expect(check.findings.count == 1 && check.findings[0].contains("does not fit its digest"), "\(check.findings)")
    #expect(check.isServable && check.jobs == used.last.jobs.count)
    let journal = try Journal(directory: folder.path + "/copy")
    #expect(try journal.restore() == used.last)
    try journal.close()
  }
}
