import Foundation

/// What this process's threads had of the processors so far.
struct ProcessorTime {
  /// In nanoseconds.
  struct Share: Equatable {
    var computed: UInt64
    /// In which the thread could have computed, but others had the processors.
    var waited: UInt64
  }

  private let threads: [String: Share]

  init(threads: [String: Share]) { self.threads = threads }

  /// `nil`: the system doesn't say.
  static func now() -> ProcessorTime? {
    let folder = "/proc/self/task"
    var threads: [String: Share] = [:]
    for thread in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] {
      // One that has just ended has none.
      threads[thread] = (try? String(contentsOfFile: "\(folder)/\(thread)/schedstat", encoding: .utf8)).flatMap(share)
    }
    return threads.isEmpty ? nil : ProcessorTime(threads: threads)
  }

  /// Of a `schedstat` file.
  static func share(_ text: String) -> Share? {
    let numbers = text.split(whereSeparator: \.isWhitespace).map { UInt64($0) }
    guard numbers.count >= 2, let computed = numbers[0], let waited = numbers[1] else { return nil }
    return Share(computed: computed, waited: waited)
  }

  /// Of the time that the threads wanted since an earlier moment, the part in which they waited; 0 if they wanted none.
  func waitedPart(since earlier: ProcessorTime) -> Double {
    var computed = 0.0
    var waited = 0.0
    for (thread, share) in threads {
      let before = earlier.threads[thread] ?? Share(computed: 0, waited: 0)
      computed += Double(share.computed - min(share.computed, before.computed))
      waited += Double(share.waited - min(share.waited, before.waited))
    }
    return waited == 0 ? 0 : waited / (computed + waited)
  }
}
