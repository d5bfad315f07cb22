import CProtobufC
import CWeirProto
import Glibc

/// Checked access to the fields of unpacked C messages.
enum Reading {
  static func name(_ text: UnsafePointer<CChar>?, _ field: String) throws(WireError) -> String {
    try string(text, field, limit: WireLimits.nameBytes)
  }

  static func text(_ text: UnsafePointer<CChar>?, _ field: String) throws(WireError) -> String {
    try string(text, field, limit: WireLimits.textBytes)
  }

  private static func string(_ text: UnsafePointer<CChar>?, _ field: String, limit: Int) throws(WireError) -> String {
    guard let text else { return "" }
    guard strnlen(text, limit + 1) <= limit else { throw WireError(.tooLarge, "\(field) is longer than \(limit) bytes") }
    guard let string = String(validatingCString: text) else { throw WireError(.invalidField, "\(field) isn't UTF-8") }
    return string
  }

  /// SHA-256, 32 bytes.
  static func digest(_ bytes: ProtobufCBinaryData, _ field: String) throws(WireError) -> [UInt8] {
    guard bytes.len == 32 else { throw WireError(.invalidField, "\(field) has \(bytes.len) bytes; a SHA-256 digest has 32") }
    return Array(UnsafeBufferPointer(start: bytes.data, count: bytes.len))
  }

  static func finite(_ value: Double, _ field: String) throws(WireError) -> Double {
    guard value.isFinite else { throw WireError(.invalidField, "\(field) is \(value), not a finite number") }
    return value
  }

  static func required<Message>(_ message: UnsafeMutablePointer<Message>?, _ field: String) throws(WireError) -> Message {
    guard let message else { throw WireError(.invalidField, "\(field) is missing") }
    return message.pointee
  }

  static func list<Element, Value>(
    _ elements: UnsafeMutablePointer<UnsafeMutablePointer<Element>?>?, _ count: Int,
    _ convert: (UnsafeMutablePointer<Element>) throws(WireError) -> Value
  ) throws(WireError) -> [Value] {
    var values: [Value] = []
    values.reserveCapacity(count)
    for element in UnsafeBufferPointer(start: elements, count: count) {
      guard let element else { continue }
      values.append(try convert(element))
    }
    return values
  }
}

extension Reading {
  static func noTensors(_ tensors: [WireTensor]) throws(WireError) {
    guard tensors.isEmpty else { throw WireError(.malformed, "a message that carries no tensors came with \(tensors.count)") }
  }

  static func oneTensor(_ tensors: [WireTensor], _ message: String) throws(WireError) -> WireTensor {
    guard tensors.count == 1 else { throw WireError(.invalidTensor, "\(message) came with \(tensors.count) tensors; it carries one") }
    return tensors[0]
  }

  static func unexpected(_ body: Weir__V1__Envelope__BodyCase, _ expected: String) -> WireError {
    body == WEIR__V1__ENVELOPE__BODY__NOT_SET
      ? WireError(.unexpectedMessage, "the envelope has no message that this program knows; is the peer of a newer release?")
      : WireError(.unexpectedMessage, "message \(body.rawValue) is not \(expected); is the peer connected to the right port?")
  }
}
