import FreePorts

/// A process's place among those that train one run together.
package struct ProcessPlace: Hashable, Sendable {
  /// From 0; the process of rank 0 writes the run's files.
  package let rank: Int
  /// Of the processes.
  package let world: Int
  /// Where the process of rank 0 listens.
  package let host: String
  package let port: UInt16

  /// - Parameter master: HOST:PORT; an IPv6 address in brackets.
  package init(rank: Int, world: Int, master: String) throws(TrainingError) {
    guard (2...1024).contains(world) else { throw TrainingError(.options, "--world \(world): 2 to 1024 processes") }
    guard (0..<world).contains(rank) else { throw TrainingError(.options, "--rank \(rank): 0 to \(world - 1), each of them once") }
    guard let colon = master.lastIndex(of: ":"), colon != master.startIndex, let port = UInt16(master[master.index(after: colon)...]),
      port > 0
    else { throw TrainingError(.options, "--master \(master): give HOST:PORT, where the process of rank 0 is to listen") }
    let host = master[..<colon]
    self.rank = rank
    self.world = world
    self.port = port
    self.host = String(host.hasPrefix("[") && host.hasSuffix("]") ? host.dropFirst().dropLast() : host)
  }

  /// HOST:PORT of this machine's loopback interface, where nobody listens.
  package static func masterOnThisMachine() throws(TrainingError) -> String {
    guard let port = FreePorts.choose(1)?.first else { throw TrainingError(.processes, "no port of 127.0.0.1 is free") }
    return "127.0.0.1:\(port)"
  }
}
