import Glibc

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
    let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(socket) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutableBytes(of: &address) { bytes in
      let pointer = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self)
      return bind(socket, pointer, size) == 0 && getsockname(socket, pointer, &size) == 0
    }
    guard isBound else { throw TrainingError(.processes, "no port of 127.0.0.1 is free: \(String(cString: strerror(errno)))") }
    return "127.0.0.1:\(UInt16(bigEndian: address.sin_port))"
  }
}
