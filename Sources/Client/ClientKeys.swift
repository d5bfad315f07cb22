package import ZeroMQ

/// What a client needs to talk to a broker with keys: its own, and the broker's public one. Connections are then encrypted, and each end has
/// proved to the other who it is.
public struct ClientKeys: Hashable, Sendable {
  let identity: CurveIdentity

  /// - Parameters:
  ///   - keyFile: The path of this client's own `.key_secret` file, made by `weir keygen`; nobody else may be able to read it.
  ///   - brokerKey: The broker's public key, 40 characters, or the path of a `.key` file that holds it.
  /// - Throws: ``ClientError/Code/badKeys``.
  public init(keyFile: String, brokerKey: String) throws(ClientError) {
    do throws(CurveCertificate.Failure) {
      identity = try CurveIdentity(keyFile: keyFile, server: brokerKey)
    } catch {
      throw ClientError(.badKeys, error.description)
    }
  }

  package init(_ identity: CurveIdentity) { self.identity = identity }

  /// What a command line asks for, or the environment: `WEIR_KEY_FILE` and `WEIR_BROKER_KEY`.
  ///
  /// - Returns: `nil` if neither does.
  package static func chosen(
    keyFile: String?, brokerKey: String?, environment: [String: String]
  ) throws(ClientError) -> ClientKeys? {
    do throws(CurveCertificate.Failure) {
      return try CurveIdentity.chosen(keyFile: keyFile, brokerKey: brokerKey, environment: environment).map(ClientKeys.init)
    } catch {
      throw ClientError(.badKeys, error.description)
    }
  }
}
