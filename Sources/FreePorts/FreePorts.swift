import Foundation
import Glibc

/// TCP ports for programs that are about to be started.
///
/// Of those that the kernel gives nobody by itself: another might be given to a third program before the one that it is for listens.
package enum FreePorts {
  private static let attempts = 1_000

  /// - Parameter hosts: IPv4 addresses of this machine, at each of which the ports are free now.
  /// - Returns: so many different ones, in random order; `nil`: none were found.
  package static func choose(_ count: Int, at hosts: [String] = ["127.0.0.1"]) -> [UInt16]? {
    let candidates = candidates()
    var ports: [UInt16] = []
    for _ in 0..<attempts where ports.count < count {
      let port = UInt16.random(in: candidates)
      if !ports.contains(port), hosts.allSatisfy({ isFree(port, at: $0) }) { ports.append(port) }
    }
    return ports.count == count ? ports : nil
  }

  /// Below or above the range from which the kernel chooses.
  private static func candidates() -> ClosedRange<UInt16> {
    let range = try? String(contentsOfFile: "/proc/sys/net/ipv4/ip_local_port_range", encoding: .utf8)
    let low = range?.split(whereSeparator: \.isWhitespace).first.flatMap { UInt16($0) } ?? 32_768
    return low > 20_000 ? 10_000...low - 1 : 61_000...65_535
  }

  static func isFree(_ port: UInt16, at host: String) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    inet_pton(AF_INET, host, &address.sin_addr)
    return withUnsafeBytes(of: address) {
      bind(descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count)) == 0
    }
  }
}
