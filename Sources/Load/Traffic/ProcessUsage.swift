import Foundation

/// What a process of this machine has used.
package struct ProcessUsage: Hashable, Sendable {
  package var processorSeconds: Double
  package var residentMiB: Double

  /// So far; `nil` if it is not there.
  package init?(of pid: Int32) {
    guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8) else { return nil }
    // The name, in parentheses, may have spaces in it.
    let fields = stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].split(separator: " ")
    guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]), let bytes = ResidentMemory.now(of: "\(pid)")
    else {
      return nil
    }
    processorSeconds = (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    residentMiB = Double(bytes) / 0x1p20
  }

  /// What it has used since another moment; its memory now.
  func since(_ earlier: ProcessUsage) -> ProcessUsage {
    var usage = self
    usage.processorSeconds -= earlier.processorSeconds
    return usage
  }
}
