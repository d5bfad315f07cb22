/// A broker's public endpoint, `tcp://host:port`.
package struct BrokerEndpoint: Sendable, Hashable, CustomStringConvertible {
  private let host: String
  private let port: UInt16

  /// `nil` unless the text is `tcp://host:port` with a port from 1 to 65535; an IPv6 host is written in brackets.
  package init?(_ text: String) {
    let scheme = "tcp://"
    guard text.hasPrefix(scheme), let colon = text.lastIndex(of: ":") else { return nil }
    guard let afterScheme = text.index(text.startIndex, offsetBy: scheme.count, limitedBy: colon), afterScheme < colon else { return nil }
    guard let port = UInt16(text[text.index(after: colon)...]), port > 0 else { return nil }
    host = String(text[afterScheme..<colon])
    self.port = port
    guard !host.contains(where: { $0.isWhitespace || $0 == "/" }) else { return nil }
  }

  package var description: String { "tcp://\(host):\(port)" }

  /// Another port of the same host.
  package func with(port: UInt16) -> String { "tcp://\(host):\(port)" }
}
