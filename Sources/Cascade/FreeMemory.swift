import Foundation

/// How much memory this process could still take.
package enum FreeMemory {
  /// Bytes, of the machine or of the control group that confines this process, whichever is less; `nil` where the system doesn't say.
  package static func bytes() -> Int? {
    func text(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }
    var least = text("/proc/meminfo").flatMap(available)
    for group in text("/proc/self/cgroup").map(groups) ?? [] {
      let folder = "/sys/fs/cgroup" + group
      guard let limit = text(folder + "/memory.max"), let current = text(folder + "/memory.current"),
        let left = left(limit: limit, current: current, stat: text(folder + "/memory.stat") ?? "")
      else { continue }
      least = min(least ?? left, left)
    }
    return least
  }

  /// Of /proc/meminfo: what the kernel thinks can be had without swapping.
  static func available(_ meminfo: String) -> Int? {
    guard let line = meminfo.split(separator: "\n").first(where: { $0.hasPrefix("MemAvailable:") }) else { return nil }
    return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 * 1024 }
  }

  /// Of /proc/self/cgroup: this process's group and those that it is in, innermost first. Version 2 only.
  static func groups(_ memberships: String) -> [String] {
    guard let line = memberships.split(separator: "\n").first(where: { $0.hasPrefix("0::/") }) else { return [] }
    var names = line.dropFirst(4).split(separator: "/")
    var groups: [String] = []
    while !names.isEmpty {
      groups.append("/" + names.joined(separator: "/"))
      names.removeLast()
    }
    return groups + [""]
  }

  /// What a group's limit leaves; `nil`: it has none. Files that the kernel would drop first don't count as taken.
  static func left(limit: String, current: String, stat: String) -> Int? {
    func number(_ text: some StringProtocol) -> Int? { Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) }
    guard let limit = number(limit), let current = number(current) else { return nil }
    let droppable = stat.split(separator: "\n").first { $0.hasPrefix("inactive_file ") }.flatMap { number($0.dropFirst(14)) } ?? 0
    return max(0, limit - (current - droppable))
  }
}
