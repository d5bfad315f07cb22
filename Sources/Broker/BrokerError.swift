/// Why a broker can't start: an endpoint is bad, taken or not safe, or its access list cannot be used.
package struct BrokerError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable { case badEndpoint, insecure, cannotBind, badAccessList }

  package var code: Code
  /// What was wrong and what to do.
  package var message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }
}
