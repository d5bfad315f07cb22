import Foundation
import Glibc
import Testing

@testable import ZeroMQ

/// What each end learns of a connection that does not come about.
@Suite(.timeLimit(.minutes(1))) struct HandshakeTests {
  private let server: CurveKeyPair
  private let friend: CurveKeyPair
  private let stranger: CurveKeyPair

  init() throws {
    (server, friend, stranger) = (try .generate(), try .generate(), try .generate())
  }

  private func options(_ curve: SocketOptions.Curve?) -> SocketOptions {
    var options = SocketOptions()
    options.curve = curve
    options.reconnect = .milliseconds(10)
    options.reconnectMaximum = .milliseconds(10)
    return options
  }

  /// What a dealer and the server learn when the dealer comes with `curve`.
  private func failures(
    _ curve: SocketOptions.Curve?, at serverCurve: SocketOptions.Curve?, serverHears: Bool = true
  ) async throws -> (dealer: HandshakeFailure?, router: (address: String?, failure: HandshakeFailure)?) {
    var heard: (HandshakeFailure?, (String?, HandshakeFailure)?) = (nil, nil)
    try await withLoop { loop, context in
      let door = try await Door(loop, context, list: [friend.publicKey])
      let (ofPeers, peerFailures) = AsyncStream.makeStream(of: (String?, HandshakeFailure).self)
      let (own, failures) = AsyncStream.makeStream(of: HandshakeFailure.self)
      let router = try await TestPeer(loop, context, .router, options(serverCurve), bind: "tcp://127.0.0.1:*", peerFailures: peerFailures)
      let endpoint = try await router.endpoint
      let dealer = try await TestPeer(loop, context, .dealer, options(curve), connect: endpoint, failures: failures)
      // The end that finds out first hangs up on the other, so it may take the two a few attempts until both have heard.
      let isSymmetric = (curve == nil) != (serverCurve == nil)
      heard.0 = await own.first { !isSymmetric || $0 != .brokenOff }
      if serverHears { heard.1 = await ofPeers.first { _ in true } }
      // The monitored sockets close in the midst of events.
      await dealer.close()
      await router.close()
      await door.close()
    }
    return heard
  }

  private var keyed: SocketOptions.Curve { .server(server, domain: "here") }

  @Test func aKeyThatIsNotOnTheList() async throws {
    let heard = try await failures(.client(stranger, server: server.publicKey), at: keyed, serverHears: false)
    #expect(heard.dealer == .keyRefused)
  }

  @Test func noKey() async throws {
    let heard = try await failures(nil, at: keyed)
    #expect(heard.dealer == .mechanismMismatch && [.mechanismMismatch, .brokenOff].contains(heard.router?.failure))
    // It may be gone by the time it is looked at, but it's never another's.
    #expect([nil, "127.0.0.1"].contains(heard.router?.address))
  }

  @Test func theKeyOfAnotherServer() async throws {
    let heard = try await failures(.client(friend, server: stranger.publicKey), at: keyed)
    #expect(heard.dealer == .brokenOff && heard.router?.failure == .wrongServerKey)
    #expect([nil, "127.0.0.1"].contains(heard.router?.address))
  }

  @Test func keysForAServerThatHasNone() async throws {
    let heard = try await failures(.client(friend, server: server.publicKey), at: nil)
    #expect(heard.dealer == .mechanismMismatch && [.mechanismMismatch, .brokenOff].contains(heard.router?.failure))
  }

  /// A peer that is still there when the server hears of it is told by its address.
  @Test func whoStaysIsKnownByAddress() throws {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    let caller = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { for descriptor in [listener, caller] { close(descriptor) } }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        #expect(bind(listener, pointer, length) == 0 && listen(listener, 1) == 0 && getsockname(listener, pointer, &length) == 0)
        #expect(connect(caller, pointer, length) == 0)
      }
    }
    let accepted = accept(listener, nil, nil)
    #expect(peerAddress(of: accepted) == "127.0.0.1")
    close(accepted)
    #expect(peerAddress(of: accepted) == nil)
    #expect(peerAddress(of: STDERR_FILENO) == nil)
  }

  @Test func eventsAreReadAsZeroMQWritesThem() {
    func event(_ number: UInt16, _ value: UInt32) -> ConnectionEvent? {
      ConnectionEvent(withUnsafeBytes(of: number) { Array($0) } + withUnsafeBytes(of: value) { Array($0) })
    }
    #expect(event(0x20, 7) == .accepted(7))
    #expect(event(0x200, 7) == .disconnected(7))
    #expect(event(0x4000, 400) == .handshakeFailed(.keyRefused))
    #expect(event(0x2000, 0x1100_0002) == .handshakeFailed(.mechanismMismatch))
    #expect(event(0x2000, 0x1000_0001) == .handshakeFailed(.violation))
    #expect(event(0x1000, 0) == nil)
    #expect(ConnectionEvent([0x20, 0]) == nil)
  }

  @Test func programsAreToldWhichKeysTheyNeed() throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "identity-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let mine = try CurveCertificate.write(friend, to: folder + "/mine")
    let theirs = try CurveCertificate.write(server, to: folder + "/broker")
    let identity = CurveIdentity(friend, server: server.publicKey)
    #expect(try CurveIdentity.chosen(keyFile: nil, brokerKey: nil, environment: ["WEIR_KEY_FILE": ""]) == nil)
    #expect(try CurveIdentity.chosen(keyFile: mine.secretPath, brokerKey: server.publicKey.text, environment: [:]) == identity)
    #expect(
      try CurveIdentity.chosen(keyFile: mine.secretPath, brokerKey: theirs.publicPath, environment: ["WEIR_KEY_FILE": "/none"]) == identity)
    let environment = ["WEIR_KEY_FILE": mine.secretPath, "WEIR_BROKER_KEY": theirs.secretPath]
    #expect(try CurveIdentity.chosen(keyFile: nil, brokerKey: nil, environment: environment) == identity)
    for (key, brokerKey, word) in [
      (mine.secretPath, nil, "--broker-key"), (nil, theirs.publicPath, "keygen"), (mine.publicPath, theirs.publicPath, "secret-key"),
      (mine.secretPath, "no key", "cannot be read"), (folder + "/none", theirs.publicPath, "cannot be read"),
    ] as [(String?, String?, String)] {
      do throws(CurveCertificate.Failure) {
        _ = try CurveIdentity.chosen(keyFile: key, brokerKey: brokerKey, environment: [:])
        Issue.record("\(key ?? "-") with \(brokerKey ?? "-") was taken")
      } catch {
        #expect(error.description.contains(word), "\(error)")
      }
    }
    let line = HandshakeFailure.keyRefused.explanation(broker: "tcp://b:1", identity, line: "client KEY tenant=NAME")
    #expect(line.contains("'client \(friend.publicKey.text) tenant=NAME'"))
    #expect(HandshakeFailure.mechanismMismatch.explanation(broker: "tcp://b:1", nil, line: "").contains("weir keygen"))
    #expect(HandshakeFailure.mechanismMismatch.explanation(broker: "tcp://b:1", identity, line: "").contains("leave out"))
    #expect(HandshakeFailure.brokenOff.explanation(broker: "tcp://b:1", identity, line: "").contains(server.publicKey.text))
  }
}
