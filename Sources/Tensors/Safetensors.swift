/// Named tensors in a file, in the safetensors format: u64 header length, JSON header, raw little-endian data.
///
/// Reading maps the file; a tensor's bytes are copied out when it is asked for. Everything the header says is checked on opening.
package struct Safetensors: Sendable {
  package let path: String
  /// In the order of their data in the file.
  package let names: [String]
  package let metadata: [String: String]

  private let file: MappedFile
  private let dataStart: Int
  private let entries: [String: SafetensorsEntry]

  /// What the reference implementation allows too.
  static let maxHeaderCount = 100 << 20

  package static func open(_ path: String) throws(SafetensorsError) -> Safetensors {
    try Safetensors(path: path)
  }

  private init(path: String) throws(SafetensorsError) {
    self.path = path
    do throws(FileFailure) {
      file = try MappedFile(path)
    } catch {
      throw SafetensorsError(code: .cannotRead, path: path, message: "can't \(error.operation) it: \(error.reason)")
    }
    (dataStart, entries, names, metadata) = try file.withUnsafeBytes {
      bytes throws(SafetensorsError) -> (Int, [String: SafetensorsEntry], [String], [String: String]) in
      guard bytes.count >= 8 else {
        throw SafetensorsError(code: .wrongSize, path: path, message: "has \(bytes.count) bytes, too few for a safetensors file")
      }
      let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
      guard length <= UInt64(Self.maxHeaderCount) else {
        throw SafetensorsError(
          code: .badHeader, path: path,
          message: "promises a header of \(length) bytes, the limit is \(Self.maxHeaderCount); is it a safetensors file?")
      }
      let start = 8 + Int(length)
      guard start <= bytes.count else {
        throw SafetensorsError(
          code: .wrongSize, path: path, message: "promises a header of \(length) bytes but has only \(bytes.count - 8); it may be cut short"
        )
      }
      do throws(SafetensorsHeaderError) {
        let header = try SafetensorsHeader(
          parsing: UnsafeRawBufferPointer(rebasing: bytes[8..<start]), dataCount: bytes.count - start)
        let byName = Dictionary(uniqueKeysWithValues: header.entries.map { ($0.name, $0) })
        return (start, byName, header.entries.map(\.name), header.metadata)
      } catch {
        throw SafetensorsError(code: error.code, path: path, message: error.message)
      }
    }
  }

  package func contains(_ name: String) -> Bool { entries[name] != nil }

  package func shape(of name: String) throws(SafetensorsError) -> [Int] { try entry(name).shape }

  package func dtype(of name: String) throws(SafetensorsError) -> DType { try entry(name).dtype }

  /// A copy of the tensor, on the CPU.
  package func tensor(named name: String) throws(SafetensorsError) -> Tensor {
    let entry = try entry(name)
    return try file.withUnsafeBytes { bytes throws(SafetensorsError) in
      let range = dataStart + entry.range.lowerBound..<dataStart + entry.range.upperBound
      let data = UnsafeRawBufferPointer(rebasing: bytes[range])
      if entry.dtype == .bool, data.contains(where: { $0 > 1 }) {
        throw SafetensorsError(code: .badTensor, path: path, message: "tensor '\(name)' is BOOL but has bytes above 1")
      }
      do throws(TorchError) {
        return try Tensor(bytes: data, shape: entry.shape, dtype: entry.dtype)
      } catch {
        throw SafetensorsError(code: .badTensor, path: path, message: "tensor '\(name)': \(error.message)")
      }
    }
  }

  private func entry(_ name: String) throws(SafetensorsError) -> SafetensorsEntry {
    guard let entry = entries[name] else {
      throw SafetensorsError(code: .noSuchTensor, path: path, message: "has no tensor '\(name)'")
    }
    return entry
  }
}

// MARK: - Writing

extension Safetensors {
  /// Replaces `path` in one step: a reader, or a crash at any time, sees the old file or the new one. The same tensors give the
  /// same bytes. Wider elements come first in the data, so that every tensor is aligned.
  package static func write(
    _ tensors: [(String, Tensor)], metadata: [String: String] = [:], to path: String
  ) throws(SafetensorsError) {
    do {
      try writeFile(tensors, metadata: metadata, to: path)
    } catch let error as FileFailure {
      throw SafetensorsError(code: .cannotWrite, path: path, message: "can't \(error.operation) it: \(error.reason)")
    } catch let error as SafetensorsError {
      throw error
    } catch {
      throw SafetensorsError(code: .cannotWrite, path: path, message: "\(error)")
    }
  }

  private static func writeFile(_ tensors: [(String, Tensor)], metadata: [String: String], to path: String) throws {
    var placed: [(entry: SafetensorsEntry, tensor: Tensor)] = []
    var names: Set<String> = [SafetensorsHeader.metadataKey]
    for (name, tensor) in tensors {
      guard names.insert(name).inserted else {
        throw SafetensorsError(code: .cannotWrite, path: path, message: "'\(name)' is the name of two tensors, or reserved")
      }
      placed.append((SafetensorsEntry(name: name, dtype: try tensor.dtype, shape: tensor.shape, range: 0..<0), tensor))
    }
    var offset = 0
    for size in Set(placed.map(\.entry.dtype.size)).sorted(by: >) {
      for index in placed.indices where placed[index].entry.dtype.size == size {
        let end = offset + placed[index].tensor.count * size
        placed[index].entry.range = offset..<end
        offset = end
      }
    }
    placed.sort { ($0.entry.range.lowerBound, $0.entry.range.upperBound) < ($1.entry.range.lowerBound, $1.entry.range.upperBound) }

    var file = try AtomicFile(replacing: path)
    try file.write(SafetensorsHeader.encode(placed.map(\.entry), metadata: metadata))
    for (_, tensor) in placed { try file.write(try tensor.bytes()) }
    try file.commit()
  }
}
