import ArgumentParser
import Broker
import Foundation
import Load

struct RecordCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "record", abstract: "Makes a trace of arrivals of what a broker's journal remembers, for 'weir-load run --pattern trace'.",
    discussion: "The folder must be a copy, made by 'weir-broker backup': a broker that runs holds its own.")

  @Argument(help: "The journal's folder.")
  var data: String

  @Option(help: ArgumentHelp("Write it there; default: to standard output.", valueName: "file"))
  var out: String?

  func run() throws {
    let journal = try Journal(directory: data)
    let trace = try ArrivalTrace(try journal.restore())
    try journal.close()
    if let out { try Data(trace.csv.utf8).write(to: URL(fileURLWithPath: out)) } else { print(trace.csv, terminator: "") }
  }
}
