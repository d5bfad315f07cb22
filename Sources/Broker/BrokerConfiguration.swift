/// Where a broker listens, what it keeps and what it allows.
package struct BrokerConfiguration: Sendable {
  package var clients: BindAddress
  /// `nil`: the port after the clients'.
  package var workers: BindAddress?
  package var dataDirectory: String
  /// Addresses that other machines can reach are allowed, though nothing is encrypted and nobody is asked for a key.
  package var isInsecureAllowed: Bool
  package var limits: BrokerLimits
  /// Bytes of recent stage outputs held in memory.
  package var cacheBytes = 48 << 20

  package init(
    clients: BindAddress, workers: BindAddress? = nil, dataDirectory: String, isInsecureAllowed: Bool = false,
    limits: BrokerLimits = BrokerLimits()
  ) {
    self.clients = clients
    self.workers = workers
    self.dataDirectory = dataDirectory
    self.isInsecureAllowed = isInsecureAllowed
    self.limits = limits
  }
}
