import Dispatch
import Glibc

/// SIGINT, SIGTERM and SIGHUP as events.
struct StopSignals {
  private let sources: [any DispatchSourceSignal]
  /// The numbers of the signals, as they arrive.
  let arrivals: AsyncStream<Int32>

  init() {
    let (arrivals, continuation) = AsyncStream.makeStream(of: Int32.self)
    self.arrivals = arrivals
    sources = [SIGINT, SIGTERM, SIGHUP].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { continuation.yield(number) }
      source.resume()
      return source
    }
  }
}
