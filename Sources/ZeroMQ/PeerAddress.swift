import Glibc

/// The IP address at the other end of a TCP connection; `nil` if the descriptor is none, or is none any more.
func peerAddress(of descriptor: Int32) -> String? {
  var storage = sockaddr_storage()
  var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
  var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
  let found = withUnsafeMutablePointer(to: &storage) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
      getpeername(descriptor, address, &length) == 0
        && getnameinfo(address, length, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST) == 0
    }
  }
  return found ? String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self) : nil
}
