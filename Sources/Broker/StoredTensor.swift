import Digests
import Wire
import ZeroMQ

/// A tensor's bytes as a row has them or says where they are, not checked against their digest yet.
struct StoredTensor {
  let frame: Frame

  /// - Parameters:
  ///   - data: what the row has as its tensor.
  ///   - dtype: and shape: what it says of it.
  /// - Returns: `nil` if there is nothing, or less than there has to be.
  init?(_ data: SQLValue, dtype: Int64, shape: @autoclosure () -> String, _ files: TensorReader) throws(JournalError) {
    switch data {
    case .blob(let bytes): frame = Frame(copying: bytes)
    case .integer(let place):
      guard let count = ShapeText.byteCount(dtype: dtype, shape: shape()), count <= WireLimits.tensorBytes,
        let frame = try files.read(TensorPlace(journalValue: place), count: count)
      else { return nil }
      self.frame = frame
    case .null, .text, .other: return nil
    }
  }

  /// - Parameters:
  ///   - dtype: the column of the tensor's type, which its shape follows.
  ///   - data: that of the tensor.
  init?(_ row: SQLStatement, dtype: Int32, data: Int32, _ files: TensorReader) throws(JournalError) {
    try self.init(row.value(data), dtype: row.int(dtype), shape: row.text(dtype + 1), files)
  }

  func fits(_ digest: UnsafeRawBufferPointer) -> Bool { frame.withUnsafeBytes { sha256($0).elementsEqual(digest) } }
}
