package import Wire
package import ZeroMQ

/// A connection's identity on one of the broker's two sockets: the routing id that ZeroMQ gave it.
///
/// ZeroMQ's own are five bytes, so short ones are held inline: a broker looks one up several times a message.
package struct PeerID: Hashable, Sendable, CustomStringConvertible {
  /// Up to seven bytes, and their count above them.
  private let short: UInt64
  /// More than that.
  private let long: Frame?

  package init(_ bytes: [UInt8]) { self.init(Frame(bytes)) }

  package init(_ frame: Frame) {
    let fits = frame.count <= 7
    short = fits ? frame.withUnsafeBytes { $0.reduce(0) { $0 << 8 | UInt64($1) } } | UInt64(frame.count) << 56 : 0
    long = fits ? nil : frame
  }

  package var bytes: [UInt8] { withUnsafeBytes { Array($0) } }

  package func withUnsafeBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    if let long { return try long.withUnsafeBytes(body) }
    // The first byte is the highest of those that count.
    let count = Int(short >> 56)
    let word = (short << UInt64(64 - 8 * count)).bigEndian
    return try Swift.withUnsafeBytes(of: word) { (bytes) throws(Failure) in
      try body(UnsafeRawBufferPointer(rebasing: bytes.prefix(count)))
    }
  }

  /// A peer that does not name itself is named by ZeroMQ: a zero and a number of four bytes.
  var isChosen: Bool { long != nil || short >> 56 != 5 || short >> 32 & 0xFF != 0 }

  package var description: String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

/// What happens to a broker.
package enum Event: Sendable {
  /// `fresh` is a random job id, used if the request makes a job.
  case client(PeerID, request: UInt64, ClientRequest, fresh: JobID)
  case worker(PeerID, WorkerMessage)
  /// A message to this client could not be delivered.
  case clientGone(PeerID)
  /// A message to this worker could not be delivered, or it sent one that cannot be read.
  case workerGone(PeerID, reason: String)
  /// Tensors of an assignment are damaged or missing, so it was not sent.
  case tensorsLost(TaskRef, StoredTensors)
  /// From now on these may do what the list says, and nobody else may do anything.
  case accessList(AccessList)
  /// The time of the last `wake` action has come.
  case tick
}

/// Which of an assignment's tensors.
package enum StoredTensors: Hashable, Sendable {
  case input, checkpoint
  /// The input, which was only in the memory of a broker that is gone.
  case draft
}
