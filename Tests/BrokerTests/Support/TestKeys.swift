import Logging
import Synchronization
import ZeroMQ

@testable import Broker

/// A few keys, and lists of them.
struct TestKeys {
  let broker, alice, bob, ops, worker, stranger: CurveKeyPair

  init() throws {
    (broker, alice, bob) = (try .generate(), try .generate(), try .generate())
    (ops, worker, stranger) = (try .generate(), try .generate(), try .generate())
  }

  var lines: [String] {
    [
      "client \(alice.publicKey) tenant=alice", "client \(bob.publicKey) tenant=bob", "client \(ops.publicKey) tenant=ops admin",
      "worker \(worker.publicKey) stages=stage0,stage1",
    ]
  }

  /// With everyone but the stranger on it.
  func list(without gone: CurveKeyPair? = nil, and more: String...) throws -> AccessList {
    try AccessList(parsing: Array(text(without: gone, more).utf8))
  }

  func text(without gone: CurveKeyPair? = nil, _ more: [String] = []) -> String {
    (lines.filter { line in gone.map { !line.contains($0.publicKey.text) } ?? true } + more).joined(separator: "\n")
  }

  func sender(_ pair: CurveKeyPair) -> Sender { Sender(key: pair.publicKey, address: "10.0.0.7") }
}

/// What a broker logs, for a test to look at and to wait for.
final class LogBook: Sendable {
  private struct State {
    var lines: [String] = []
    var waiting: [(fits: @Sendable (String) -> Bool, continuation: CheckedContinuation<String, any Error>)] = []
  }

  private let state = Mutex(State())

  var lines: [String] { state.withLock { $0.lines } }

  var logger: Logger { Logger(label: "test") { _ in Handler(book: self) } }

  private func add(_ line: String) {
    let due = state.withLock { state in
      state.lines.append(line)
      let due = state.waiting.filter { $0.fits(line) }
      state.waiting.removeAll { $0.fits(line) }
      return due
    }
    for entry in due { entry.continuation.resume(returning: line) }
  }

  /// The first line that has all of these words, of those that are there and those to come.
  @discardableResult
  func line(_ words: String...) async throws -> String {
    try await line { line in words.allSatisfy { line.contains($0) } }
  }

  /// The first line that fits, of those that are there and those to come.
  @discardableResult
  func line(where fits: @escaping @Sendable (String) -> Bool) async throws -> String {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let found = state.withLock { state -> String? in
          let found = state.lines.first(where: fits)
          if found == nil { state.waiting.append((fits, continuation)) }
          return found
        }
        if let found { continuation.resume(returning: found) }
      }
    } onCancel: {
      // The test's time is up.
      let waiting = state.withLock { state in
        defer { state.waiting = [] }
        return state.waiting
      }
      for entry in waiting { entry.continuation.resume(throwing: CancellationError()) }
    }
  }

  private struct Handler: LogHandler {
    let book: LogBook
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]

    init(book: LogBook) { self.book = book }

    func log(event: LogEvent) { book.add("\(event.level) \(event.message)") }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }
  }
}
