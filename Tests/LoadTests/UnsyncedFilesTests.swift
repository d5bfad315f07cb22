import Foundation
import Testing

@testable import Load

@Suite struct UnsyncedFilesTests {
  private static let sector = 512
  private static let sectors = 8

  /// Makes changes to a file as a program would.
  private func write(_ byte: UInt8, _ sectors: Range<Int>, _ path: String, _ files: inout UnsyncedFiles) throws {
    let (offset, count) = (sectors.lowerBound * Self.sector, sectors.count * Self.sector)
    files.willChange(SystemCall(kind: .write, path: path, offset: offset, count: count))
    let file = try #require(FileHandle(forUpdatingAtPath: path))
    try file.seek(toOffset: UInt64(offset))
    try file.write(contentsOf: Data(repeating: byte, count: count))
    try file.close()
  }

  private func withFile(_ body: (String) throws -> Void) throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "weir-unsynced-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Data(repeating: 1, count: Self.sectors * Self.sector).write(to: URL(fileURLWithPath: path))
    try body(path)
  }

  @Test func whatWasSyncedStaysAndOfTheRestSectorsAreWholeOrNotThere() throws {
    var sizes: Set<Int> = []
    var mixes: Set<[UInt8]> = []
    for seed in 0..<60 as Range<UInt64> {
      try withFile { path in
        var files = UnsyncedFiles()
        try write(2, 0..<2, path, &files)
        files.synced(path)
        try write(3, 1..<4, path, &files)
        try write(4, 7..<12, path, &files)
        files.loseSome(seed: seed)
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        try #require(bytes.count % Self.sector == 0 && bytes.count >= Self.sectors * Self.sector, "seed \(seed): \(bytes.count) bytes")
        let found = stride(from: 0, to: bytes.count, by: Self.sector).map { start -> UInt8 in
          let part = Set(bytes[start..<start + Self.sector])
          #expect(part.count == 1, "seed \(seed): a sector is torn")
          return bytes[start]
        }
        #expect(found[0] == 2 && (found[1] == 2 || found[1] == 3), "seed \(seed): \(found)")
        #expect(found[4..<7].allSatisfy { $0 == 1 }, "seed \(seed): \(found)")
        sizes.insert(bytes.count)
        mixes.insert(found)
      }
    }
    #expect(sizes.contains(Self.sectors * Self.sector) && sizes.contains(12 * Self.sector), "nothing lost, or all of it, is possible too")
    #expect(mixes.count > 10)
  }

  @Test func aTruncationIsTakenBackToo() throws {
    var sizes: Set<Int> = []
    for seed in 0..<20 as Range<UInt64> {
      try withFile { path in
        var files = UnsyncedFiles()
        files.willChange(SystemCall(kind: .truncate, path: path, offset: Self.sector, count: 0))
        #expect(truncate(path, Self.sector) == 0)
        files.loseSome(seed: seed)
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        #expect(bytes.allSatisfy { $0 == 1 })
        sizes.insert(bytes.count)
      }
    }
    #expect(sizes == [Self.sector, Self.sectors * Self.sector])
  }
}
