import Glibc
import SeededRandom

/// What a program wrote to files and did not bring to the disk yet: what a power loss may take, in any part.
struct UnsyncedFiles {
  private struct Change {
    let path: String
    let offset: Int
    /// Bytes that are written there; 0: the file is cut off there.
    let count: Int
    /// What was there.
    let before: [UInt8]
    let sizeBefore: Int
  }

  /// What a disk writes whole or not at all.
  private static let sectorBytes = 512

  private var changes: [Change] = []

  /// Called before the change is made.
  mutating func willChange(_ call: SystemCall) {
    guard call.kind == .write || call.kind == .truncate else { return }
    let file = open(call.path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    defer { close(file) }
    let size = Int(lseek(file, 0, SEEK_END))
    let end = call.kind == .write ? min(size, call.offset + call.count) : size
    changes.append(
      Change(
        path: call.path, offset: call.offset, count: call.count, before: Self.read(file, call.offset, end - call.offset),
        sizeBefore: size))
  }

  mutating func synced(_ path: String) { changes.removeAll { $0.path == path } }

  /// Takes back all that is not on the disk, then makes some of it again: nothing, what came first, or sectors here and there.
  func loseSome(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var files: [String: Int32] = [:]
    for path in Set(changes.map(\.path)) { files[path] = open(path, O_RDWR | O_CLOEXEC) }
    defer { for file in files.values { close(file) } }
    let made = changes.map { Self.read(files[$0.path] ?? -1, $0.offset, $0.count) }
    for change in changes.reversed() {
      guard let file = files[change.path] else { continue }
      Self.write(file, change.before[...], at: change.offset)
      ftruncate(file, change.sizeBefore)
    }
    let mode = Int.random(in: 0..<3, using: &random)
    let kept = Int.random(in: 0...changes.count, using: &random)
    for (index, change) in changes.enumerated() {
      guard let file = files[change.path], mode == 2 || mode == 1 && index < kept else { continue }
      if change.count == 0 {
        ftruncate(file, change.offset)
        continue
      }
      var start = 0
      while start < made[index].count {
        let end = min(made[index].count, start + Self.sectorBytes - (change.offset + start) % Self.sectorBytes)
        if mode == 1 || random.unit() < 0.5 { Self.write(file, made[index][start..<end], at: change.offset + start) }
        start = end
      }
    }
  }

  private static func read(_ file: Int32, _ offset: Int, _ count: Int) -> [UInt8] {
    guard count > 0 else { return [] }
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, length in length = max(0, pread(file, buffer.baseAddress, count, offset)) }
  }

  private static func write(_ file: Int32, _ bytes: ArraySlice<UInt8>, at offset: Int) {
    bytes.withUnsafeBytes { _ = pwrite(file, $0.baseAddress, $0.count, offset) }
  }
}
