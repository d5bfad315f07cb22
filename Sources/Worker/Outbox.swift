package import Wire

/// Messages that the socket would not take yet.
///
/// It stays small however long the broker does not read: of progress, checkpoints and beats only the latest of each task is kept. The order of
/// what is kept is the order it was added in.
package struct Outbox {
  /// More than any honest broker makes a worker say: beyond it the connection is given up.
  package static let limit = 1024

  package private(set) var messages: [WorkerMessage] = []

  package init() {}

  package var isEmpty: Bool { messages.isEmpty }
  package var isOverfull: Bool { messages.count > Self.limit }

  package mutating func add(_ message: WorkerMessage) {
    messages.removeAll { Self.supersedes(message, $0) }
    messages.append(message)
  }

  package mutating func removeFirst() { messages.removeFirst() }

  package mutating func removeAll() { messages = [] }

  private static func supersedes(_ new: WorkerMessage, _ old: WorkerMessage) -> Bool {
    switch (new, old) {
    case (.progress(let new, _), .progress(let old, _)): new.task == old.task
    case (.checkpoint(let new, _), .checkpoint(let old, _)): new == old
    case (.result(let new), .checkpoint(let old, _)): new.task == old
    case (.result(let new), .result(let old)): new.task == old.task
    case (.beat, .beat): true
    default: false
    }
  }
}
