import Foundation
import Testing

@testable import FreePorts
@testable import Load

@Suite struct FreePortsTests {
  /// Of its own choice the kernel gives none of them to anybody else.
  @Test func theyAreDifferentFreeAndNotTheKernels() throws {
    let ports = try #require(FreePorts.choose(50, at: ["127.0.0.1", "127.0.0.2"]))
    #expect(Set(ports).count == 50)
    let range = try String(contentsOfFile: "/proc/sys/net/ipv4/ip_local_port_range", encoding: .utf8)
    let bounds = range.split(whereSeparator: \.isWhitespace).compactMap { UInt16($0) }
    try #require(bounds.count == 2)
    #expect(ports.allSatisfy { !(bounds[0]...bounds[1]).contains($0) })
    for port in ports { close(try FaultyNetwork.listen("127.0.0.1", port)) }
  }

  @Test func whatIsTakenIsNotFree() throws {
    let port = try #require(FreePorts.choose(1)?.first)
    let listener = try FaultyNetwork.listen("127.0.0.1", port)
    #expect(!FreePorts.isFree(port, at: "127.0.0.1"))
    close(listener)
    #expect(FreePorts.isFree(port, at: "127.0.0.1"))
    #expect(FreePorts.choose(1, at: ["192.0.2.1"]) == nil, "not an address of this machine")
  }
}
