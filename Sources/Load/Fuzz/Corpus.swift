import Foundation
package import Wire
package import ZeroMQ

/// Real messages, as they went over a fleet's sockets: what mutations start from.
///
/// A folder with a file a kind of message, named `role.kind`. A file is its messages one after the other, each a number of frames and then
/// the frames, each a number of bytes and then the bytes; numbers are 32-bit, little-endian.
package struct Corpus: Sendable {
  /// Who says it to whom.
  package enum Role: String, CaseIterable, Sendable {
    case request, reply, worker, command

    /// Decodes and, if that went well, encodes what came out.
    ///
    /// - Returns: the message again; `nil` if these frames are none.
    /// - Throws: if what was decoded cannot be encoded.
    package func roundTrip(_ frames: [Frame]) throws(WireError) -> [Frame]? {
      switch self {
      case .request:
        guard let (number, message) = try? WireCodec.decodeClientRequest(frames) else { return nil }
        return try WireCodec.encode(message, request: number)
      case .reply:
        guard let (number, message) = try? WireCodec.decodeClientReply(frames) else { return nil }
        return try WireCodec.encode(message, request: number)
      case .worker:
        guard let message = try? WireCodec.decodeWorkerMessage(frames) else { return nil }
        return try WireCodec.encode(message)
      case .command:
        guard let message = try? WireCodec.decodeWorkerCommand(frames) else { return nil }
        return try WireCodec.encode(message)
      }
    }

    /// The name of the message that these frames are; `nil` if they are none.
    package func kind(_ frames: [Frame]) -> String? {
      func name(_ message: Any) -> String { Mirror(reflecting: message).children.first?.label ?? "\(message)" }
      return switch self {
      case .request: (try? WireCodec.decodeClientRequest(frames)).map { name($0.1) }
      case .reply: (try? WireCodec.decodeClientReply(frames)).map { name($0.1) }
      case .worker: (try? WireCodec.decodeWorkerMessage(frames)).map { name($0) }
      case .command: (try? WireCodec.decodeWorkerCommand(frames)).map { name($0) }
      }
    }
  }

  package private(set) var messages: [Role: [String: [[Frame]]]] = [:]
  private static let perKind = 4

  package init() {}

  /// All of a role, in the order of their kinds.
  package func all(_ role: Role) -> [[Frame]] {
    (messages[role] ?? [:]).sorted { $0.key < $1.key }.flatMap(\.value)
  }

  /// Keeps a message if it is unlike those of its kind that are kept.
  package mutating func note(_ frames: [Frame], _ role: Role) {
    guard let kind = role.kind(frames) else { return }
    let sizes = frames.map(\.count)
    var kept = messages[role]?[kind] ?? []
    guard kept.count < Self.perKind, !kept.contains(where: { $0.map(\.count) == sizes }) else { return }
    kept.append(frames)
    messages[role, default: [:]][kind] = kept
  }

  // MARK: Files

  /// - Throws: what reading a file throws; `Broken` if one is cut short.
  package init(folder: String) throws {
    for file in try FileManager.default.contentsOfDirectory(atPath: folder).sorted() {
      let parts = file.split(separator: ".")
      guard parts.count == 2, let role = Role(rawValue: String(parts[0])) else { continue }
      let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(file)")))
      messages[role, default: [:]][String(parts[1])] = try Self.decode(bytes, file)
    }
    guard !messages.isEmpty else { throw Broken("\(folder) has no messages; make them with weir-load fuzz --record \(folder)") }
  }

  package func write(to folder: String) throws {
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    for (role, kinds) in messages {
      for (kind, messages) in kinds {
        var bytes: [UInt8] = []
        for frames in messages {
          bytes += Self.number(frames.count)
          for frame in frames { bytes += Self.number(frame.count) + frame.bytes }
        }
        try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/\(role.rawValue).\(kind)"))
      }
    }
  }

  private static func number(_ value: Int) -> [UInt8] { withUnsafeBytes(of: UInt32(value).littleEndian) { Array($0) } }

  private static func decode(_ bytes: [UInt8], _ file: String) throws -> [[Frame]] {
    var reader = ByteReader(bytes)
    var messages: [[Frame]] = []
    while !reader.isAtEnd {
      var frames: [Frame] = []
      guard let count = reader.word(), count > 0 else { throw Broken("the corpus's file \(file) is cut short") }
      for _ in 0..<count {
        guard let size = reader.word(), let bytes = reader.take(size) else { throw Broken("the corpus's file \(file) is cut short") }
        frames.append(Frame(bytes))
      }
      messages.append(frames)
    }
    return messages
  }
}
