/// Whether an endpoint is one that only this machine reaches, of those over TCP.
package func isLoopback(_ endpoint: String) -> Bool {
  ["tcp://127.", "tcp://localhost:", "tcp://[::1]:"].contains { endpoint.hasPrefix($0) }
}
