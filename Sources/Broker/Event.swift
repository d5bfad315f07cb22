package import Wire

/// A connection's identity on one of the broker's two sockets: the routing id that ZeroMQ gave it.
///
/// ZeroMQ's own are five bytes, so short ones are held inline: a broker looks one up several times a message.
package struct PeerID: Hashable, Sendable, CustomStringConvertible {
  /// Up to seven bytes, and their count above them.
  private let short: UInt64
  /// More than that.
  private let long: [UInt8]

  package init(_ bytes: some Collection<UInt8>) {
    let fits = bytes.count <= 7
    short = fits ? bytes.reduce(0) { $0 << 8 | UInt64($1) } | UInt64(bytes.count) << 56 : 0
    long = fits ? [] : Array(bytes)
  }

  package var bytes: [UInt8] {
    long.isEmpty ? (0..<short >> 56).reversed().map { UInt8(truncatingIfNeeded: short >> (8 * $0)) } : long
  }

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
  /// Tensors of an assignment are damaged or missing on disk, so it was not sent.
  case tensorsLost(TaskRef, StoredTensors)
  /// The time of the last `wake` action has come.
  case tick
}

/// Which of an assignment's tensors.
package enum StoredTensors: Hashable, Sendable { case input, checkpoint }
