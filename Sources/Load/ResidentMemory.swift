import Foundation

/// What of a process's memory is in use, from `/proc`; in bytes.
package enum ResidentMemory {
  /// - Parameter pid: `self` is this process.
  /// - Returns: `nil` if there is no such process.
  package static func now(of pid: String = "self") -> Int? { field("VmRSS", pid) }

  /// How much more of this process's memory was in use at some time during `body` than before it. What other threads take counts, too.
  package static func growth<Result>(during body: () async throws -> Result) async throws -> (Result, Int) {
    // Has the kernel forget the peak that it has seen so far.
    try Data("5".utf8).write(to: URL(fileURLWithPath: "/proc/self/clear_refs"))
    let before = now() ?? 0
    let result = try await body()
    return (result, max(0, (field("VmHWM", "self") ?? 0) - before))
  }

  private static func field(_ name: String, _ pid: String) -> Int? {
    guard let status = try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8),
      let line = status.split(separator: "\n").first(where: { $0.hasPrefix("\(name):") })
    else { return nil }
    return line.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) }.map { $0 << 10 }
  }
}
