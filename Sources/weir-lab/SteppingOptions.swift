import ArgumentParser

/// How many samples a command steps at a time, and on what.
struct SteppingOptions: ParsableArguments {
  @Option(help: "Samples stepped together.")
  var batch = 8

  @OptionGroup
  var compute: ComputeOptions

  func validate() throws {
    guard (1...256).contains(batch) else { throw ValidationError("--batch \(batch): give 1 to 256") }
  }
}
