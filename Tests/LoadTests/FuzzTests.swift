import Foundation
import Testing
import Wire
import ZeroMQ

@testable import Load

/// Real messages, damaged, against every decoder.
@Suite struct FuzzTests {
  private static let corpus = Result {
    try Corpus(folder: URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Corpus").path)
  }

  /// All that the wire knows is there, as long as each kind is what its file says.
  @Test func theCorpusIsWhole() throws {
    let corpus = try Self.corpus.get()
    let kinds: [Corpus.Role: Set<String>] = [
      .request: [
        "submit", "status", "watch", "fetch", "cancel", "workers", "locate", "release", "retry", "dead", "history",
      ],
      .reply: [
        "accepted", "refused", "jobs", "event", "image", "cancelled", "released", "retried", "history", "workers", "located",
      ],
      .worker: ["hello", "progress", "checkpoint", "result", "failure", "beat", "goodbye"],
      .command: ["welcome", "assign", "revoke", "drain", "beat", "disconnect", "settled"],
    ]
    for role in Corpus.Role.allCases {
      #expect(Set((corpus.messages[role] ?? [:]).keys) == kinds[role])
      for (kind, messages) in corpus.messages[role] ?? [:] {
        for message in messages {
          #expect(role.kind(message) == kind)
          // What is sent is what is read: the same bytes again.
          #expect(try role.roundTrip(message) == message, "\(role) \(kind)")
        }
      }
    }
  }

  /// A decoder refuses, or gives a message that survives another trip; it neither crashes nor hangs.
  @Test(arguments: Corpus.Role.allCases) func damagedMessages(role: Corpus.Role) throws {
    let corpus = try Self.corpus.get()
    var decoded = 0
    let runs = 100
    let messagesPerRun = 100
    for seed in 0..<UInt64(runs) {
      var mutator = Mutator(seed: seed, corpus: corpus.all(role))
      for number in 0..<messagesPerRun {
        let frames = mutator.next()
        guard let again = try role.roundTrip(frames) else { continue }
        decoded += 1
        #expect(try role.roundTrip(again) == again, "\(role), seed \(seed), message \(number)")
      }
    }
    // Both outcomes are exercised.
    #expect((runs * messagesPerRun / 50...runs * messagesPerRun * 49 / 50).contains(decoded), "\(decoded) were decoded")
  }

  /// Counts and sizes that are lies: whoever announces them is refused, and nothing is taken for what is not there.
  @Test(arguments: Corpus.Role.allCases) func memoryIsNotTakenForAnnouncements(role: Corpus.Role) async throws {
    let corpus = try Self.corpus.get()
    let huge: [[UInt8]] = [
      [0xff, 0xff, 0xff, 0xff, 0x0f], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], [0x80, 0x80, 0x80, 0x20],
    ]
    let (refused, growth) = try await ResidentMemory.growth {
      var refused = 0
      for message in corpus.all(role) {
        for (index, frame) in message.enumerated() where frame.count <= 4_096 {
          let bytes = frame.bytes
          for place in bytes.indices {
            for number in huge {
              var frames = message
              frames[index] = Frame(Array(bytes[..<place]) + number + Array(bytes[place...].dropFirst()))
              if try role.roundTrip(frames) == nil { refused += 1 }
            }
          }
        }
      }
      return refused
    }
    #expect(refused > 1_000)
    #expect(growth < 64 << 20, "\(growth >> 20) MiB")
  }

  @Test func rawBytesAreOneSequence() throws {
    let corpus = try Self.corpus.get().all(.request)
    var first = RawBytes(seed: 7, corpus: corpus)
    var second = RawBytes(seed: 7, corpus: corpus)
    var sizes: Set<Int> = []
    for _ in 0..<20_000 {
      let bytes = first.next()
      #expect(second.next() == bytes)
      sizes.insert(bytes.count)
    }
    #expect(sizes.count > 100)
  }

  @Test func aSeedIsOneSequence() throws {
    let corpus = try Self.corpus.get().all(.worker)
    var first = Mutator(seed: 5, corpus: corpus)
    var second = Mutator(seed: 5, corpus: corpus)
    for _ in 0..<1_000 { #expect(first.next() == second.next()) }
  }

  @Test func aCorpusOnDiskIsTheSame() throws {
    let corpus = try Self.corpus.get()
    let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try corpus.write(to: folder)
    let read = try Corpus(folder: folder)
    for role in Corpus.Role.allCases { #expect(read.messages[role] == corpus.messages[role]) }
    // One that is cut short is not taken for a shorter one.
    let file = URL(fileURLWithPath: "\(folder)/worker.hello")
    try Data(try Data(contentsOf: file).dropLast()).write(to: file)
    #expect(throws: (any Error).self) { try Corpus(folder: folder) }
  }
}
