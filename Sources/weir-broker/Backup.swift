import ArgumentParser
import Broker

struct Backup: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Copies a data folder's journal, also under a running broker.",
    discussion: """
      The copy is a data folder of its own, as the source was at one moment. It appears when it is complete, checked and on the disk, or \
      not at all. What a broker lives with, a damaged tensor say, is copied and named, with exit status 1; of a journal that has to be built \
      anew there is no copy.
      """)

  @Argument(help: "The folder that the broker was given as --data.")
  var dir: String

  @Argument(help: "The new folder.")
  var target: String

  func run() throws {
    try report(try JournalBackup.copy(from: dir, to: target), of: target)
  }
}

/// Prints what a check found.
///
/// - Throws: exit status 1 if that is anything.
func report(_ check: JournalCheck, of directory: String) throws {
  for finding in check.findings { print(finding) }
  let size = "\(check.jobs) jobs, \(check.tensors) tensors, \(check.bytes) bytes"
  let use = check.isInUse ? ", in use" : ""
  print(check.findings.isEmpty ? "\(directory): whole (\(size)\(use))" : "\(directory): \(check.findings.count) findings")
  if !check.findings.isEmpty { throw ExitCode(1) }
}
