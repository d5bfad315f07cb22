import ArgumentParser
import Foundation

/// What a command that draws samples computes on.
struct ComputeOptions: ParsableArguments {
  @Option(help: "Processor threads: a sample takes one, or several where samples are fewer; they change no byte (default: one a core).")
  var threads = ProcessInfo.processInfo.activeProcessorCount

  @Option(help: "cpu or cuda:N.")
  var device = "cpu"

  func validate() throws {
    guard (1...1024).contains(threads) else { throw ValidationError("--threads \(threads): give 1 to 1024") }
  }
}
