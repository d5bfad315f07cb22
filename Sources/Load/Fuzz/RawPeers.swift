import Glibc

/// TCP connections that say raw bytes and go, some in order, some with a reset, some only after a while.
struct RawPeers {
  /// Open at a time.
  private static let kept = 16

  private let address: sockaddr_in
  private var bytes: RawBytes
  private var open: [Int32] = []
  private var count = 0

  /// - Parameter endpoint: `tcp://address:port`, the address in IPv4.
  /// - Throws: `Broken` if it is something else.
  init(at endpoint: String, bytes: RawBytes) throws {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    guard endpoint.hasPrefix("tcp://"), let colon = endpoint.lastIndex(of: ":"),
      let port = UInt16(endpoint[endpoint.index(after: colon)...]),
      inet_pton(AF_INET, String(endpoint.dropFirst(6)[..<colon]), &address.sin_addr) == 1
    else { throw Broken("\(endpoint) is not tcp://, an IPv4 address and a port") }
    address.sin_port = port.bigEndian
    self.address = address
    self.bytes = bytes
  }

  /// - Throws: `Broken` if nobody listens there any more.
  mutating func next() throws {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw Broken("no socket: \(String(cString: strerror(errno)))") }
    var patience = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    let connected = withUnsafePointer(to: address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
    guard connected == 0 else {
      defer { Glibc.close(descriptor) }
      throw Broken("the broker takes no connections: \(String(cString: strerror(errno)))")
    }
    bytes.next().withUnsafeBytes { _ = send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)) }
    open.append(descriptor)
    if open.count > Self.kept { hangUp(open.removeFirst()) }
  }

  mutating func close() {
    for descriptor in open { hangUp(descriptor) }
    open = []
  }

  private mutating func hangUp(_ descriptor: Int32) {
    count += 1
    if count % 2 == 0 {
      var reset = linger(l_onoff: 1, l_linger: 0)
      setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &reset, socklen_t(MemoryLayout<linger>.size))
    }
    Glibc.close(descriptor)
  }
}
