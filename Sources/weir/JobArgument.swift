import ArgumentParser
import Wire

/// A job's number on the command line.
struct JobArgument: ExpressibleByArgument {
  let id: JobID

  init?(argument: String) {
    guard let id = JobID(argument) else { return nil }
    self.id = id
  }
}
