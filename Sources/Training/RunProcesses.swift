import Tensors

/// The processes that train one run together, as one of them sees them: what they agree on before and between steps. Every method is a meeting, see
/// `ProcessGroup`.
struct RunProcesses {
  private let group: ProcessGroup

  /// Waits for all of them.
  ///
  /// - Parameter patience: how long the others are waited for, now and at every meeting.
  init(_ place: ProcessPlace, patience: Duration) throws(TrainingError) {
    do {
      group = try ProcessGroup(host: place.host, port: place.port, rank: place.rank, count: place.world, timeout: patience)
    } catch {
      throw TrainingError(
        .processes,
        "the \(place.world) processes of the run did not meet at \(place.host), port \(place.port), where the one of --rank 0 listens "
          + "(\(error.message)); start each rank once, with the same --world and --master")
    }
  }

  /// Processes that differ in anything that decides the steps would train different networks, and nobody would see it.
  ///
  /// - Parameter fingerprint: of all that does.
  func compare(_ fingerprint: UInt64) throws(TrainingError) {
    // A Double holds 53 bits.
    let found = try meet { () throws(TorchError) in try group.gather(Double(fingerprint >> 11)) }
    if let other = found.firstIndex(where: { $0 != found[0] }) {
      throw TrainingError(
        .processes,
        "rank \(other) has other flags, images or weights than rank 0: give all processes the same, with copies of the data and of the run's folder"
      )
    }
  }

  /// Whether one of them is asked to stop, and the clock of the first.
  func agree(toStop wanted: Bool, seconds: Double) throws(TrainingError) -> (stops: Bool, seconds: Double) {
    try meet { () throws(TorchError) in
      let clock = try group.gather(seconds)[0]
      return (try group.gather(wanted ? 1 : 0).contains(1), clock)
    }
  }

  /// See `ProcessGroup`.
  func averageGradients(of parameters: [Tensor], and value: Double) throws(TrainingError) -> Double {
    try meet { () throws(TorchError) in try group.averageGradients(of: parameters, and: value) }
  }

  private func meet<Result>(_ meeting: () throws(TorchError) -> Result) throws(TrainingError) -> Result {
    do {
      return try meeting()
    } catch {
      throw TrainingError(
        .processes,
        "another process of the run has ended, hangs or cannot be reached (\(error.message)); start all of them again with --resume")
    }
  }
}
