import Foundation
import Glibc
import SeededRandom
import Testing
import ZeroMQ

@testable import Broker

struct AccessListTests {
  let keys: TestKeys

  init() throws { keys = try TestKeys() }

  private func parse(_ text: String) throws -> AccessList { try AccessList(parsing: Array(text.utf8)) }

  @Test func everyLineSaysWhoMayDoWhat() throws {
    let list = try parse(
      """
      # Who may come

        client \(keys.alice.publicKey)\ttenant=alice weight=3 max-tasks=5000   # the first of hers
      client \(keys.bob.publicKey) tenant=alice\r
      client \(keys.ops.publicKey) tenant=öps admin
      worker \(keys.worker.publicKey) stages=base32,sr64
      worker \(keys.stranger.publicKey) stages=*
      """)
    #expect(
      list.grants == [
        keys.alice.publicKey: .client(tenant: "alice", isAdmin: false), keys.bob.publicKey: .client(tenant: "alice", isAdmin: false),
        keys.ops.publicKey: .client(tenant: "öps", isAdmin: true), keys.worker.publicKey: .worker(stages: ["base32", "sr64"]),
        keys.stranger.publicKey: .worker(stages: nil),
      ])
    #expect(list.tenants["alice"] == .init(weight: 3, maxOpenTasks: 5000))
    #expect(list.tenants["öps"] == .init())
  }

  @Test func mistakesAreNamedWithTheirLine() throws {
    let (a, b) = (keys.alice.publicKey, keys.bob.publicKey)
    for (text, line, words) in [
      ("", 0, ["lists nobody"]), ("# nobody\n\n", 0, ["lists nobody"]), ("user \(a) tenant=a", 1, ["neither client nor worker"]),
      ("client", 1, ["key is missing"]), ("# x\nclient tenant=a", 2, ["no public key"]), ("client \(a)x tenant=a", 1, ["40 characters"]),
      ("client \(a)", 1, ["add tenant="]), ("client \(a) tenant=", 1, ["no value"]), ("client \(a) tenant=a tenant=b", 1, ["twice"]),
      ("client \(a) tenant=a\nworker \(a) stages=*", 2, ["listed twice"]),
      ("client \(a) tenant=a stages=x", 1, ["stages=x", "weight=NUMBER"]),
      ("client \(a) tenant=a Admin", 1, ["'Admin' means nothing"]), ("client \(a) tenant=a weight=0", 1, ["weight=0"]),
      ("client \(a) tenant=a weight=nan", 1, ["weight=nan"]), ("client \(a) tenant=a max-tasks=0", 1, ["max-tasks=0"]),
      ("client \(a) tenant=a max-tasks=99999999999999999999", 1, ["max-tasks"]),
      ("client \(a) tenant=a weight=1\nclient \(b) tenant=a weight=2", 2, ["another weight"]),
      ("client \(a) tenant=a max-tasks=1\nclient \(b) tenant=a max-tasks=2", 2, ["another max-tasks"]),
      ("client \(a) tenant=\(String(repeating: "a", count: 101))", 1, ["101 bytes"]), ("worker \(a)", 1, ["add stages="]),
      ("worker \(a) stages=a,,b", 1, ["commas"]), ("worker \(a) stages=a,*", 1, ["alone"]),
      ("worker \(a) tenant=a stages=*", 1, ["tenant=a"]),
      ("client \(a) tenant=a \u{1B}[2J", 1, ["?[2J"]), ("client \(a)\0 tenant=a", 1, ["40 characters"]),
    ] as [(String, Int, [String])] {
      do throws(AccessList.Fault) {
        _ = try AccessList(parsing: Array(text.utf8))
        Issue.record("taken: \(text)")
      } catch {
        #expect(error.line == line && words.allSatisfy { error.reason.contains($0) }, "\(text): \(error)")
      }
    }
    #expect(throws: AccessList.Fault(line: 1, reason: "it is not UTF-8")) { try AccessList(parsing: [0x23, 0xC3, 0x28]) }
  }

  /// Whatever is done to the bytes of a list, it is taken or refused with a reason of bounded length.
  @Test(arguments: [1, 2, 3] as [UInt64]) func damagedListsAreHarmless(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let good = Array((keys.text() + "\nworker \(keys.stranger.publicKey) stages=* # all\n").utf8)
    var refused = 0
    for _ in 0..<2_000 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes.remove(at: place)
        default: bytes.insert(contentsOf: bytes[place...].prefix(50), at: place)
        }
      }
      do throws(AccessList.Fault) { _ = try AccessList(parsing: bytes) } catch {
        refused += 1
        #expect(error.description.utf8.count < 500, "seed \(seed): \(bytes)")
      }
    }
    #expect(refused > 0)
  }

  @Test func filesAreReadWhenTheyChangeAndWithinBounds() throws {
    let folder = TemporaryFolder()
    let path = folder.path + "/allow"
    func write(_ text: String, mode: Int = 0o600) throws {
      try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
      try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }
    func fault(_ file: inout AccessFile) -> String {
      do throws(BrokerError) { return "\(try file.read().grants.count)" } catch { return error.message }
    }
    var file = AccessFile(path)
    #expect(fault(&file).contains("\(path), the access list: cannot be read"))
    #expect(try file.readIfChanged() == nil)
    try write(keys.text())
    #expect(try file.readIfChanged() == keys.list())
    #expect(try file.readIfChanged() == nil)
    try write(keys.text(without: keys.bob))
    #expect(try file.readIfChanged() == keys.list(without: keys.bob))
    try write("client\n")
    #expect(throws: BrokerError.self) { try file.readIfChanged() }
    // Said once.
    #expect(try file.readIfChanged() == nil)
    #expect(fault(&file).contains("line 1: the key is missing"))
    try write(keys.text(), mode: 0o606)
    #expect(fault(&file).contains("chmod o-w"))
    try write("# " + String(repeating: "x", count: 1 << 20))
    #expect(fault(&file).contains("at most 1048576"))
    try FileManager.default.removeItem(atPath: path)
    #expect(throws: BrokerError.self) { try file.readIfChanged() }
    try #require(mkfifo(path, 0o600) == 0)
    #expect(fault(&file).contains("it is no file"))
    var directory = AccessFile(folder.path)
    #expect(fault(&directory).contains("it is no file"))
  }

  @Test func aStormOfRefusalsIsAFewLines() {
    var log = RefusalLog()
    var lines = (0..<1_000).compactMap { _ in log.line("the same", at: 0) }
    #expect(lines.count == 10 && lines[0] == "the same" && lines[9].hasPrefix("the same, 512 times so far"))
    lines = (0..<100_000).compactMap { log.line("another \($0)", at: 0) }
    #expect(lines.count == 10)
    // An hour of it.
    lines = (0..<3_600_000 as Range<Int64>).compactMap { log.line("yet another \($0)", at: $0) }
    #expect(lines.count < 750)
    #expect(lines.last?.contains("refusals since the last line") == true)
  }
}
