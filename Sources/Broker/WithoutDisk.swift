package import Wire

// What goes on while the journal can't be written.

extension Action {
  /// It need not wait for the disk.
  package var promisesNothing: Bool {
    switch self {
    case .command(_, .beat), .reply(_, request: _, .jobs), .reply(_, request: _, .workers), .reply(_, request: _, .located),
      .reply(_, request: _, .refused):
      true
    default: false
    }
  }
}

extension ClientRequest {
  /// The answer is all there is to it.
  package var changesNothing: Bool {
    switch self {
    case .status, .dead, .workers, .locate: true
    case .submit, .watch, .fetch, .cancel, .release, .retry, .history: false
    }
  }
}
