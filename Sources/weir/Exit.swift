import ArgumentParser
import Client
import Glibc
import Programs
import Wire

/// Exit statuses of every `weir` command, and how errors turn into them.
enum Exit {
  static let failed = Program.failed
  static let usage = Program.usage
  static let refused: Int32 = 3
  static let unreachable: Int32 = 4
  /// 128 + SIGINT, as shells have it.
  static let interrupted: Int32 = 130

  /// Says what went wrong and leaves.
  static func now(_ error: any Error) -> Never {
    switch error {
    case let error as ClientError:
      Output.error("weir: \(printable(error.message))")
      exit(status(error.code))
    case let error as UsageError:
      Output.error("weir: \(error.message)")
      exit(usage)
    case let error as Failure:
      Output.error("weir: \(printable(error.message))")
      exit(failed)
    default: Program.leave(Weir.self, error)
    }
  }

  private static func status(_ code: ClientError.Code) -> Int32 {
    switch code {
    case .refused, .denied: refused
    case .unreachable: unreachable
    case .invalidEndpoint, .invalidRequest, .badKeys: usage
    default: failed
    }
  }
}

/// A command that could not do what it was asked to, for a reason of its own.
struct Failure: Error {
  var message: String

  init(_ message: String) { self.message = message }
}
