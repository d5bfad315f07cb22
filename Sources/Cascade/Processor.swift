import Foundation

/// The processor that this process runs on.
enum Processor {
  /// As it calls itself; empty where the system doesn't say.
  static let model = field("model name") ?? ""
  static let count = ProcessInfo.processInfo.activeProcessorCount
  /// Its instruction sets, as the kernel names them.
  static let flags = Set(field("flags")?.split(separator: " ").map(String.init) ?? [])

  private static let description = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)

  private static func field(_ name: String) -> String? {
    guard let line = description?.split(separator: "\n").first(where: { $0.hasPrefix(name) }) else { return nil }
    return line.firstIndex(of: ":").map { line[line.index(after: $0)...].trimmingCharacters(in: .whitespaces) }
  }
}
