import ArgumentParser
import Foundation

/// How many samples a command steps at a time, and on what.
struct SteppingOptions: ParsableArguments {
  @Option(help: "Samples stepped together.")
  var batch = 8

  @Option(help: "Processor threads (default: one a core).")
  var threads = ProcessInfo.processInfo.activeProcessorCount

  @Option(help: "cpu or cuda:N.")
  var device = "cpu"

  func validate() throws {
    guard (1...256).contains(batch) else { throw ValidationError("--batch \(batch): give 1 to 256") }
    guard (1...1024).contains(threads) else { throw ValidationError("--threads \(threads): give 1 to 1024") }
  }
}
