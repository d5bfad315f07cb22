import Foundation
import Glibc

/// A process beside a fleet's own, which ends with this one at the latest. Nobody starts it again.
actor Companion {
  private let process = Process()

  init(_ settings: Chaos.Settings, _ program: String, _ arguments: [String]) throws {
    process.executableURL = URL(fileURLWithPath: "\(settings.executables)/weir")
    process.arguments = ["run-child", "--parent", "\(getpid())", "--", "\(settings.executables)/\(program)"] + arguments
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    try process.run()
  }

  func signal(_ signal: Int32) { kill(process.processIdentifier, signal) }

  func end() {
    signal(SIGKILL)
    process.waitUntilExit()
  }
}
