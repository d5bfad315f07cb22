import CZeroMQ
import Glibc

/// What ZeroMQ refused to do.
package struct ZeroMQError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    /// The peer's queue is full, or there is no peer yet. Nothing was sent.
    case wouldBlock
    /// A ROUTER has no peer of that routing id. Nothing was sent.
    case hostUnreachable
    case addressInUse
    case addressNotAvailable
    case permissionDenied
    case invalidEndpoint
    /// The context was terminated or the socket closed.
    case terminated
    /// A peer sent more frames in one message than the socket accepts; the message was thrown away.
    case tooManyFrames
    case tooManyOpenFiles
    case other
  }

  package var code: Code
  /// The C error number; 0 where there is none.
  package var errno: Int32
  package var operation: String
  package var endpoint: String?

  package init(_ code: Code, errno: Int32 = 0, operation: String, endpoint: String? = nil) {
    self.code = code
    self.errno = errno
    self.operation = operation
    self.endpoint = endpoint
  }

  /// Built from the error number of the call that just failed.
  init(errno: Int32, operation: String, endpoint: String? = nil) {
    let code: Code
    switch errno {
    case EAGAIN: code = .wouldBlock
    case EHOSTUNREACH: code = .hostUnreachable
    case EADDRINUSE: code = .addressInUse
    case EADDRNOTAVAIL, ENODEV: code = .addressNotAvailable
    case EACCES, EPERM: code = .permissionDenied
    case EINVAL where endpoint != nil: code = .invalidEndpoint
    case EPROTONOSUPPORT, ENOCOMPATPROTO: code = .invalidEndpoint
    case ETERM, ENOTSOCK: code = .terminated
    case EMFILE, ENFILE: code = .tooManyOpenFiles
    default: code = .other
    }
    self.init(code, errno: errno, operation: operation, endpoint: endpoint)
  }

  package var description: String {
    let subject = endpoint.map { "\(operation) \($0)" } ?? operation
    let advice: String
    switch code {
    case .wouldBlock: advice = "the peer's queue is full or nobody is connected; try again later"
    case .hostUnreachable: advice = "no peer of that routing id is connected"
    case .addressInUse: advice = "the address is in use; stop the program that has it or choose another port"
    case .addressNotAvailable: advice = "no such local address or interface"
    case .permissionDenied: advice = "not permitted; ports below 1024 need privileges"
    case .invalidEndpoint: advice = "not a usable endpoint; write it like tcp://127.0.0.1:7710"
    case .terminated: advice = "the socket or its context is closed"
    case .tooManyFrames: advice = "the peer sent a message of too many frames"
    case .tooManyOpenFiles: advice = "too many open files or sockets; raise the limit (ulimit -n)"
    case .other: advice = errno == 0 ? "failed" : String(cString: zmq_strerror(errno))
    }
    return "\(subject): \(advice)"
  }
}
