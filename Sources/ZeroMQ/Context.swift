import CZeroMQ
import Synchronization

/// A ZeroMQ context: its I/O threads and the in-process name space of its sockets.
package final class Context: Sendable {
  /// `nil` once terminated.
  private let handle: Mutex<SendableHandle?>

  /// A context may be used from any thread; the raw pointer just doesn't say so.
  private struct SendableHandle: @unchecked Sendable { var pointer: UnsafeMutableRawPointer }

  /// - Parameter maxSockets: sockets open at a time.
  package init(ioThreads: Int32 = 1, maxSockets: Int32 = 1023) throws(ZeroMQError) {
    guard let pointer = zmq_ctx_new() else { throw ZeroMQError(errno: zmq_errno(), operation: "zmq_ctx_new") }
    for (option, value) in [(ZMQ_IO_THREADS, ioThreads), (ZMQ_MAX_SOCKETS, maxSockets), (ZMQ_BLOCKY, 0)] {
      guard zmq_ctx_set(pointer, option, value) == 0 else {
        let error = ZeroMQError(errno: zmq_errno(), operation: "zmq_ctx_set(\(option), \(value))")
        zmq_ctx_term(pointer)
        throw error
      }
    }
    handle = Mutex(SendableHandle(pointer: pointer))
  }

  deinit { terminate() }

  /// Waits until every socket is closed and what they had left to send is sent or its linger time is over. Call it before a program
  /// exits, for a message still on its way is lost otherwise. Sockets that are still open fail with `.terminated` from here on.
  package func terminate() {
    let pointer = handle.withLock { handle in
      defer { handle = nil }
      return handle?.pointer
    }
    guard let pointer else { return }
    while zmq_ctx_term(pointer) != 0 && zmq_errno() == EINTR {}
  }

  func makeSocket(_ type: Int32) throws(ZeroMQError) -> UnsafeMutableRawPointer {
    let (socket, errno) = handle.withLock { handle -> (SendableHandle?, Int32) in
      guard let context = handle?.pointer else { return (nil, ETERM) }
      guard let socket = zmq_socket(context, type) else { return (nil, zmq_errno()) }
      return (SendableHandle(pointer: socket), 0)
    }
    guard let socket else { throw ZeroMQError(errno: errno, operation: "zmq_socket") }
    return socket.pointer
  }
}
