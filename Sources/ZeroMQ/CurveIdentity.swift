/// What a program needs to talk to a server with keys: its own pair, and the server's public key.
package struct CurveIdentity: Hashable, Sendable {
  package let pair: CurveKeyPair
  package let server: CurvePublicKey

  package init(_ pair: CurveKeyPair, server: CurvePublicKey) {
    self.pair = pair
    self.server = server
  }

  /// - Parameters:
  ///   - keyFile: the program's own `.key_secret` file.
  ///   - server: the server's public key, or a file that holds it.
  package init(keyFile: String, server: String) throws(CurveCertificate.Failure) {
    pair = try CurveCertificate.pair(keyFile)
    // A path may look like a key, but a key is hardly ever a file's name.
    if let key = CurvePublicKey(server), !CurveCertificate.exists(server) {
      self.server = key
    } else {
      self.server = try CurveCertificate.publicKey(server)
    }
  }

  /// What a command line asks for, or the environment where that does not say: `WEIR_KEY_FILE` and `WEIR_BROKER_KEY`.
  ///
  /// - Returns: `nil` if neither does.
  package static func chosen(
    keyFile: String?, brokerKey: String?, environment: [String: String]
  ) throws(CurveCertificate.Failure) -> CurveIdentity? {
    func text(_ option: String?, _ variable: String) -> String? { option ?? environment[variable].flatMap { $0.isEmpty ? nil : $0 } }
    switch (text(keyFile, "WEIR_KEY_FILE"), text(brokerKey, "WEIR_BROKER_KEY")) {
    case (nil, nil): return nil
    case (let keyFile?, let brokerKey?): return try CurveIdentity(keyFile: keyFile, server: brokerKey)
    case (_?, nil):
      throw CurveCertificate.Failure(
        description: "--key-file goes with --broker-key (or WEIR_BROKER_KEY): the broker's public key, which its operator gives you")
    case (nil, _?):
      throw CurveCertificate.Failure(
        description: "--broker-key goes with --key-file (or WEIR_KEY_FILE): this program's own .key_secret file, which 'weir keygen' makes")
    }
  }

  package var curve: SocketOptions.Curve { .client(pair, server: server) }
}

extension HandshakeFailure {
  /// What a person is told whose program cannot reach a broker with keys, or without.
  ///
  /// - Parameters:
  ///   - identity: what the program came with.
  ///   - line: of the broker's list, `KEY` in the place of the program's key: what would let it in.
  package func explanation(broker: String, _ identity: CurveIdentity?, line: String) -> String {
    switch self {
    case .keyRefused:
      let line = line.replacing("KEY", with: identity?.pair.publicKey.text ?? "KEY")
      return "the broker at \(broker) does not let this key in: have its operator add the line '\(line)' to its --allow file"
    case .mechanismMismatch:
      return identity == nil
        ? """
        the broker at \(broker) asks for keys: give --key-file with the file that 'weir keygen' made, and --broker-key with the broker's public \
        key
        """
        : "the broker at \(broker) works without keys: leave out --key-file and --broker-key (and WEIR_KEY_FILE and WEIR_BROKER_KEY)"
    case .brokenOff, .wrongServerKey:
      return identity == nil
        ? "what listens at \(broker) hangs up on ZeroMQ's greeting"
        : """
        what listens at \(broker) hangs up during the handshake, as a broker does whose key is not the one given as --broker-key \
        (\(identity?.server.text ?? ""))
        """
    case .violation: return "what listens at \(broker) does not speak ZeroMQ's protocol"
    }
  }
}
