import CTorchBridge

/// A `.pt` file that `torch.save` wrote: named tensors, without any of the code that such a file may ask for.
///
/// The file holds a state dict, or a table with one under `state_dict`, `model` or `ema`. Both of PyTorch's containers are read, the zip archive and
/// the one before 1.6. A file that calls anything but PyTorch's own way to make a tensor is refused.
package struct TorchCheckpoint {
  package struct Failure: Error, CustomStringConvertible {
    package let path: String
    package let message: String

    package var description: String { "\(path): \(message)" }
  }

  /// In the order of the file.
  package let names: [String]
  private let path: String
  private let tensors: [String: TorchTensorRecord]
  private let storages: any TorchStorages

  package static func open(_ path: String) throws(Failure) -> TorchCheckpoint {
    do {
      return try TorchCheckpoint(path: path)
    } catch let error as Failure {
      throw error
    } catch let error as FileFailure {
      throw Failure(path: path, message: "can't \(error.operation) it: \(error.reason)")
    } catch let error as Unpickler.Failure {
      throw Failure(path: path, message: "is no file of tensors: \(error.message)")
    } catch let error as TorchTensorRecord.Failure {
      throw Failure(path: path, message: error.message)
    } catch let error as TorchError {
      throw Failure(path: path, message: "cannot be read: \(error.message)")
    } catch {
      throw Failure(path: path, message: "\(error)")
    }
  }

  private init(path: String) throws {
    self.path = path
    let file = try MappedFile(path)
    let isArchive = file.withUnsafeBytes { $0.starts(with: [0x50, 0x4b, 0x03, 0x04]) }
    let records: [(name: String, record: TorchTensorRecord)]
    if isArchive {
      let archive = try TorchArchive(path, fileSize: file.count)
      records = try archive.records()
      storages = archive
    } else {
      let legacy = try LegacyTorchFile(file)
      records = legacy.records
      storages = legacy
    }
    names = records.map(\.name)
    tensors = Dictionary(records.map { ($0.name, $0.record) }) { $1 }
    guard !names.isEmpty else { throw Failure(path: path, message: "holds no tensors") }
    guard tensors.count == names.count else { throw Failure(path: path, message: "names a tensor twice") }
  }

  package func shape(of name: String) throws(Failure) -> [Int] { try record(name).shape }

  /// A copy of the tensor, on the CPU and contiguous.
  package func tensor(named name: String) throws(Failure) -> Tensor {
    let record = try record(name)
    do {
      return try storages.withStorage(record.storage) { try record.tensor(of: $0) }
    } catch let error as TorchTensorRecord.Failure {
      throw Failure(path: path, message: "tensor '\(name)': \(error.message)")
    } catch {
      throw Failure(path: path, message: "tensor '\(name)': \(error)")
    }
  }

  private func record(_ name: String) throws(Failure) -> TorchTensorRecord {
    guard let record = tensors[name] else { throw Failure(path: path, message: "has no tensor '\(name)'") }
    return record
  }
}

/// Where the elements of a file's tensors are.
protocol TorchStorages {
  func withStorage<Result>(_ key: String, _ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result
}

/// PyTorch's zip archive: `data.pkl` names the tensors, `data/KEY` holds a storage.
private final class TorchArchive: TorchStorages {
  private let archive: OpaquePointer
  private let fileSize: Int
  /// What was asked for last: tensors often share a storage.
  private var last: (key: String, bytes: [UInt8])?

  init(_ path: String, fileSize: Int) throws {
    self.fileSize = fileSize
    var out: OpaquePointer?
    try check("open", wt_archive_open(path, &out))
    guard let out else { throw TorchError(operation: "open", message: "the bridge gave no archive") }
    archive = out
  }

  deinit { wt_archive_close(archive) }

  func records() throws -> [(name: String, record: TorchTensorRecord)] {
    var hasOrder = false
    try check("byteorder", wt_archive_has(archive, "byteorder", &hasOrder))
    if hasOrder, try read("byteorder") != Array("little".utf8) {
      throw TorchTensorRecord.Failure(message: "was written on a big-endian machine, which is not read")
    }
    return try read("data.pkl").withUnsafeBytes { bytes in
      try Unpickler.read(bytes) { value, _ in try TorchTensorRecord.stateDict(value) }
    }
  }

  func withStorage<Result>(_ key: String, _ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
    if last?.key != key { last = (key, try read("data/\(key)")) }
    return try (last?.bytes ?? []).withUnsafeBytes(body)
  }

  private func read(_ record: String) throws -> [UInt8] {
    var size = 0
    try check("read", wt_archive_size(archive, record, &size))
    // PyTorch compresses nothing.
    guard size <= fileSize else { throw TorchTensorRecord.Failure(message: "has a record '\(record)' larger than the file") }
    var bytes = [UInt8](repeating: 0, count: size)
    try check("read", bytes.withUnsafeMutableBytes { wt_archive_read(archive, record, $0.baseAddress, size) })
    return bytes
  }
}

/// The container before PyTorch 1.6: pickles of a magic number, a version, the machine, the object and its storages' keys, then the storages.
private struct LegacyTorchFile: TorchStorages {
  let records: [(name: String, record: TorchTensorRecord)]
  private let file: MappedFile
  private let places: [String: Range<Int>]

  /// 0x1950a86a20f9469cfc6c as a pickle's number.
  private static let magic: [UInt8] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e]

  init(_ file: MappedFile) throws {
    self.file = file
    (records, places) = try file.withUnsafeBytes { bytes in
      guard bytes.count > 2 + Self.magic.count, bytes[0] == 0x80, bytes[2...].starts(with: Self.magic) else {
        throw TorchTensorRecord.Failure(message: "is neither a zip archive nor an older file of PyTorch's; give what torch.save wrote")
      }
      var offset = 2 + Self.magic.count
      for _ in 0..<2 { offset = try Unpickler.read(bytes, from: offset) { $1 } }
      let records: [(name: String, record: TorchTensorRecord)]
      (records, offset) = try Unpickler.read(bytes, from: offset) { (try TorchTensorRecord.stateDict($0), $1) }
      let keys: [String]
      (keys, offset) = try Unpickler.read(bytes, from: offset) { value, end in
        guard case .list(let list) = value else { throw TorchTensorRecord.Failure(message: "has no list of its storages") }
        return (list.items.compactMap(\.string), end)
      }
      let sizes = Dictionary(records.map { ($0.record.storage, $0.record.dtype.size) }) { max($0, $1) }
      var places: [String: Range<Int>] = [:]
      for key in keys {
        guard bytes.count - offset >= 8 else { throw TorchTensorRecord.Failure(message: "ends before its storages; it may be cut short") }
        let count = Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int64.self))
        offset += 8
        guard let size = sizes[key], count >= 0, let length = Int(exactly: count).map({ $0.multipliedReportingOverflow(by: size) }),
          !length.overflow, length.partialValue <= bytes.count - offset
        else {
          throw TorchTensorRecord.Failure(message: "has a storage '\(key)' that is cut short, or of no tensor")
        }
        places[key] = offset..<offset + length.partialValue
        offset += length.partialValue
      }
      return (records, places)
    }
  }

  func withStorage<Result>(_ key: String, _ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
    guard let place = places[key] else { throw TorchTensorRecord.Failure(message: "its storage '\(key)' is missing") }
    return try file.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[place])) }
  }
}
