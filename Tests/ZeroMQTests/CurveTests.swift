import Foundation
import Testing

@testable import ZeroMQ

@Suite(.timeLimit(.minutes(1))) struct CurveTests {
  @Test func keysAreTextOfAFixedForm() throws {
    let pair = try CurveKeyPair.generate()
    #expect(try CurveKeyPair.generate().secretKey != pair.secretKey)
    #expect(CurvePublicKey(pair.publicKey.text) == pair.publicKey)
    #expect(try CurveKeyPair(pair.secretKey) == pair)
    // RFC 26's example server key.
    let known = try #require(CurveSecretKey("JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"))
    #expect(try CurveKeyPair(known).publicKey.text == "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7")
    #expect("\(pair.secretKey)".contains(pair.secretKey.text) == false)
    for wrong in ["", String(pair.publicKey.text.dropLast()), pair.publicKey.text + "a", String(repeating: "\"", count: 40)] {
      #expect(CurvePublicKey(wrong) == nil && CurveSecretKey(wrong) == nil, "\(wrong)")
    }
  }

  @Test func certificatesAreFiles() throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "curve-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let pair = try CurveKeyPair.generate()
    let paths = try CurveCertificate.write(pair, to: folder + "/mine")
    #expect(paths.publicPath == folder + "/mine.key" && paths.secretPath == folder + "/mine.key_secret")
    #expect(try CurveCertificate.pair(paths.secretPath) == pair)
    #expect(try CurveCertificate.publicKey(paths.publicPath) == pair.publicKey)
    #expect(try CurveCertificate.publicKey(paths.secretPath) == pair.publicKey)
    #expect(try String(contentsOfFile: paths.publicPath, encoding: .utf8).contains(pair.secretKey.text) == false)
    // Another pair doesn't take its place.
    #expect(throws: CurveCertificate.Failure.self) { try CurveCertificate.write(.generate(), to: folder + "/mine") }
    #expect(try CurveCertificate.pair(paths.secretPath) == pair)
    #expect(throws: CurveCertificate.Failure.self) { try CurveCertificate.pair(paths.publicPath) }
    #expect(throws: CurveCertificate.Failure.self) { try CurveCertificate.pair(folder + "/none") }
    try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: paths.secretPath)
    #expect(throws: CurveCertificate.Failure.self) { try CurveCertificate.pair(paths.secretPath) }
    for text in [
      "", "curve\n    secret-key = \"short\"\n", "curve\n    secret-key\n", "metadata\n    secret-key = \"\(pair.secretKey.text)\"\n",
    ] {
      let path = "\(folder)/\(UUID().uuidString)"
      try #require(FileManager.default.createFile(atPath: path, contents: Data(text.utf8), attributes: [.posixPermissions: 0o600]))
      #expect(throws: CurveCertificate.Failure.self, "\(text)") { try CurveCertificate.pair(path) }
    }
  }

  /// Who is on the list gets through and is known; nobody else does, with a wrong key, without one, or for the wrong server's.
  @Test func onlyThoseOnTheListGetIn() async throws {
    try await withLoop { loop, context in
      let (server, friend, stranger) = (try CurveKeyPair.generate(), try CurveKeyPair.generate(), try CurveKeyPair.generate())
      let door = try await Door(loop, context, list: [friend.publicKey])
      var options = SocketOptions()
      options.curve = .server(server, domain: "here")
      let router = try await TestPeer(loop, context, .router, options, bind: "tcp://127.0.0.1:*")
      let endpoint = try await router.endpoint

      func dealer(_ curve: SocketOptions.Curve?) async throws -> TestPeer {
        var options = SocketOptions()
        options.curve = curve
        options.reconnect = .milliseconds(10)
        options.reconnectMaximum = .milliseconds(10)
        return try await TestPeer(loop, context, .dealer, options, connect: endpoint)
      }
      // The three that must not get in speak first. One that was sent away by then has nothing left to speak through.
      let intruders = [
        try await dealer(.client(stranger, server: server.publicKey)), try await dealer(nil),
        try await dealer(.client(friend, server: stranger.publicKey)),
      ]
      for intruder in intruders { try? await intruder.send("let me in") }
      _ = await door.refusal()
      let guest = try await dealer(.client(friend, server: server.publicKey))
      try await guest.send("hello")
      let message = try await router.next()
      #expect(message.last?.text == "hello")
      #expect(await router.lastSender == friend.publicKey)
      #expect(await router.lastAddress == "127.0.0.1")
      try await router.send(message)
      #expect(try await guest.next().map(\.text) == ["hello"])
      let seen = await door.seen
      #expect(seen.allSatisfy { $0.domain == "here" && $0.address == "127.0.0.1" })
      #expect(Set(seen.map(\.key)) == [friend.publicKey, stranger.publicKey])
      #expect(await router.unread == 0)
      await door.close()
    }
  }
}

/// An authenticator on a loop, seen from a test.
actor Door {
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  private let loop: SocketLoop
  private var authenticator: Authenticator?
  private(set) var seen: [Authenticator.Request] = []
  private var refused: CurvePublicKey?
  private var waiting: CheckedContinuation<CurvePublicKey, Never>?

  init(_ loop: SocketLoop, _ context: Context, list: Set<CurvePublicKey>) async throws {
    self.loop = loop
    try open(context, list)
  }

  private func open(_ context: Context, _ list: Set<CurvePublicKey>) throws {
    authenticator = try Authenticator(context, on: loop) { [unowned self] request in
      assumeIsolated { door in
        door.seen.append(request)
        if list.contains(request.key) { return true }
        door.refused = request.key
        door.waiting?.resume(returning: request.key)
        door.waiting = nil
        return false
      }
    }
  }

  /// The first key that was sent away.
  func refusal() async -> CurvePublicKey {
    if let refused { return refused }
    return await withCheckedContinuation { waiting = $0 }
  }

  func close() {
    authenticator?.close()
    authenticator = nil
  }
}
