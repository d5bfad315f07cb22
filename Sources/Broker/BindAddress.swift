import ZeroMQ

/// Where a socket listens: `tcp://address:port`, port 0 or `*` for any free one.
package struct BindAddress: Hashable, Sendable, CustomStringConvertible {
  package var host: String
  /// 0: any free one.
  package var port: UInt16

  package init(_ text: String) throws(BrokerError) {
    let problem = BrokerError(.badEndpoint, "'\(clip(text, 200))' is not an endpoint; write it like tcp://127.0.0.1:7710")
    guard text.hasPrefix("tcp://"), let colon = text.lastIndex(of: ":") else { throw problem }
    let start = text.index(text.startIndex, offsetBy: 6)
    guard start < colon else { throw problem }
    let port = text[text.index(after: colon)...]
    guard let number = port == "*" ? 0 : UInt16(port) else { throw problem }
    // A bind takes addresses, not names.
    let host = String(text[start..<colon])
    self.host = host == "localhost" ? "127.0.0.1" : host
    self.port = number
  }

  /// The next port up.
  package var next: BindAddress {
    get throws(BrokerError) {
      guard port < UInt16.max else {
        throw BrokerError(.badEndpoint, "\(self): there is no next port for workers; say which with --bind-workers")
      }
      var next = self
      if port != 0 { next.port += 1 }
      return next
    }
  }

  var isLoopback: Bool { ZeroMQ.isLoopback(description) }
  var isIPv6: Bool { host.hasPrefix("[") }

  package var description: String { "tcp://\(host):\(port == 0 ? "*" : String(port))" }
}
