package import Wire

/// A connection's identity on one of the broker's two sockets: the routing id that ZeroMQ gave it.
package struct PeerID: Hashable, Sendable, CustomStringConvertible {
  package let bytes: [UInt8]

  package init(_ bytes: [UInt8]) { self.bytes = bytes }

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
