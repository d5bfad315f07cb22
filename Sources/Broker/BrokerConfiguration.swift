package import ZeroMQ

/// Where a broker listens, what it keeps and what it allows.
package struct BrokerConfiguration: Sendable {
  package var clients: BindAddress
  /// `nil`: the port after the clients'.
  package var workers: BindAddress?
  package var dataDirectory: String
  /// Addresses that other machines can reach are allowed, though nothing is encrypted and nobody is asked for a key.
  package var isInsecureAllowed: Bool
  /// `nil`: anyone who can reach it may do anything.
  package var keys: Keys?
  package var limits: BrokerLimits
  /// Bytes of recent stage outputs held in memory beside the disk.
  package var cacheBytes = 48 << 20
  /// Bytes of drafts held in memory in place of the disk.
  package var draftBytes = 0

  /// Who the broker is, and the file that says who else may come.
  package struct Keys: Hashable, Sendable {
    package var pair: CurveKeyPair
    /// Path of an `AccessList`.
    package var accessList: String

    package init(pair: CurveKeyPair, accessList: String) {
      self.pair = pair
      self.accessList = accessList
    }

    /// - Parameter keyFile: a `.key_secret` file.
    package init(keyFile: String, accessList: String) throws(CurveCertificate.Failure) {
      self.init(pair: try CurveCertificate.pair(keyFile), accessList: accessList)
    }
  }

  package init(
    clients: BindAddress, workers: BindAddress? = nil, dataDirectory: String, isInsecureAllowed: Bool = false,
    keys: Keys? = nil, limits: BrokerLimits = BrokerLimits()
  ) {
    self.keys = keys
    self.clients = clients
    self.workers = workers
    self.dataDirectory = dataDirectory
    self.isInsecureAllowed = isInsecureAllowed
    self.limits = limits
  }
}
