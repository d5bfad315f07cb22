import FreePorts
import Glibc
import Testing

@testable import Load

/// Through a network of its own, from a client to a server that reads and writes when it is told.
@Suite struct FaultyNetworkTests {
  private final class Ends {
    let client: Int32
    let server: Int32

    init(client: Int32, server: Int32) {
      self.client = client
      self.server = server
    }

    deinit { for descriptor in [client, server] { close(descriptor) } }
  }

  private func withNetwork(_ body: (FaultyNetwork, () throws -> Ends) throws -> Void) throws {
    let (front, back) = ("127.0.0.2", "127.0.0.1")
    let port = try #require(FreePorts.choose(1, at: [back, front])?.first)
    let network = try FaultyNetwork(at: front, before: back, ports: [port])
    defer { network.stop() }
    let listener = try FaultyNetwork.listen(back, port)
    _ = fcntl(listener, F_SETFL, 0)
    defer { close(listener) }
    try body(network) {
      let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      try #require(FaultyNetwork.withAddress(front, port) { connect(client, $0, $1) } == 0)
      return Ends(client: client, server: accept(listener, nil, nil))
    }
  }

  private func send(_ text: String, _ descriptor: Int32) {
    _ = Array(text.utf8).withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
  }

  /// Waits for that many bytes, or fewer and the end.
  private func receive(_ count: Int, _ descriptor: Int32) -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: count)
    while bytes.count < count {
      let got = read(descriptor, &buffer, count - bytes.count)
      if got <= 0 { break }
      bytes += buffer[..<got]
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test func itPassesOnBothWaysAndEnds() throws {
    try withNetwork { network, dial in
      let (one, two) = (try dial(), try dial())
      send("up", one.client)
      send("other", two.client)
      #expect(receive(2, one.server) == "up")
      send("down", one.server)
      #expect(receive(4, one.client) == "down")
      #expect(receive(5, two.server) == "other")
      shutdown(one.client, Int32(SHUT_WR))
      #expect(receive(1, one.server) == "")
      send("late", one.server)
      #expect(receive(4, one.client) == "late")
      #expect(network.counters.connections == 2)
    }
  }

  @Test func whatWasHeldArrivesInOrderThoughItsSenderIsGone() throws {
    try withNetwork { network, dial in
      let ends = try dial()
      send("a", ends.client)
      #expect(receive(1, ends.server) == "a")
      network.set(.init(up: .hold))
      for letter in ["b", "c", "d"] { send(letter, ends.client) }
      shutdown(ends.client, Int32(SHUT_RDWR))
      // A later connection, the other way round, is not held up by it.
      let other = try dial()
      send("x", other.server)
      #expect(receive(1, other.client) == "x")
      network.set(.fine)
      #expect(receive(4, ends.server) == "bcd")
    }
  }

  @Test func aCutEndsEveryConnection() throws {
    try withNetwork { network, dial in
      let (one, two) = (try dial(), try dial())
      for ends in [one, two] {
        send("a", ends.client)
        #expect(receive(1, ends.server) == "a")
      }
      network.cut(1)
      for ends in [one, two] {
        #expect(receive(1, ends.client) == "")
        #expect(receive(1, ends.server) == "")
      }
      #expect(network.counters.cut == 2)
      let three = try dial()
      send("b", three.client)
      #expect(receive(1, three.server) == "b")
    }
  }
}
