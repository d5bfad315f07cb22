import Foundation

/// What a SQLite write-ahead log holds, frame by frame (https://www.sqlite.org/fileformat2.html, section 4).
///
/// SQLite reads a log up to the first frame that is not as it was written, and takes the rest for the remains of a crash. This also looks at
/// what comes after: a frame that is whole, behind one that is not, says that the damage came later, to commits that were acknowledged.
struct LogFrames {
  struct Frame {
    /// Counted from 1.
    var number: Int
    var page: UInt32
    /// Of the page's bytes in the log.
    var offset: Int
    /// Pages of the database after the commit that this frame ends; 0: it ends none.
    var commitSize: UInt32
    /// It is as it was written.
    var isWhole: Bool
  }

  private static let headerBytes = 32
  private static let frameHeaderBytes = 24

  /// In order. Those that are not whole are of this run over the file by their own account, or lie before whole ones.
  private(set) var all: [Frame] = []
  private(set) var isHeaderDamaged = false

  /// Frames that are not as they were written, though a later commit is.
  ///
  /// Behind the last commit that proves nothing: there may be the beginning of one transaction over the remains of another, if the writer was
  /// killed in both.
  var damaged: [Frame] {
    let lastCommit = all.lastIndex { $0.isWhole && $0.commitSize > 0 } ?? 0
    return all.prefix(lastCommit).filter { !$0.isWhole }
  }

  /// The frames up to the last commit that SQLite finds.
  var found: Int { commits(all.prefix { $0.isWhole }) }

  /// The frames up to the last commit there is, behind damage too: nothing is written after a commit that failed.
  var committed: Int { commits(all[...]) }

  /// Pages of the database after the last commit.
  var size: UInt32 { all.last { $0.isWhole && $0.commitSize > 0 }?.commitSize ?? 0 }

  private func commits(_ frames: ArraySlice<Frame>) -> Int { (frames.lastIndex { $0.isWhole && $0.commitSize > 0 } ?? -1) + 1 }

  init(_ log: Data, pageSize: Int) {
    log.withUnsafeBytes { read($0, pageSize) }
  }

  private mutating func read(_ log: UnsafeRawBufferPointer, _ pageSize: Int) {
    guard log.count > Self.headerBytes + Self.frameHeaderBytes else { return }
    func slice(_ offset: Int, _ count: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: log[offset..<offset + count]) }
    // The last bit of the magic number says in which byte order words are summed. It is the writer's own; it may be damaged.
    let isBigEndian = log.word(0) == 0x377f_0683
    var seeds = [Sum(), Sum(log.word(24), log.word(28))]
    seeds[0].add(slice(0, 24), isBigEndian)
    let isHeaderWhole = seeds[0] == seeds[1] && log.word(0) & ~1 == 0x377f_0682 && Int(log.word(8)) == pageSize
    // A frame's own salts say which run over the file it belongs to. If the header is damaged, the first frame knows better.
    let salts = isHeaderWhole ? (log.word(16), log.word(20)) : (log.word(Self.headerBytes + 8), log.word(Self.headerBytes + 12))
    var bad: [Frame] = []
    var isPreviousWhole = isHeaderWhole
    for (index, offset) in stride(from: Self.headerBytes, to: log.count - Self.frameHeaderBytes, by: Self.frameHeaderBytes + pageSize)
      .enumerated()
    {
      let isComplete = offset + Self.frameHeaderBytes + pageSize <= log.count
      let stored = Sum(log.word(offset + 16), log.word(offset + 20))
      var sums = seeds
      for index in sums.indices where isComplete {
        sums[index].add(slice(offset, 8), isBigEndian)
        sums[index].add(slice(offset + Self.frameHeaderBytes, pageSize), isBigEndian)
      }
      let areSaltsRight = (log.word(offset + 8), log.word(offset + 12)) == salts
      let isSumRight = isComplete && sums.contains(stored)
      var frame = Frame(
        number: index + 1, page: log.word(offset), offset: offset + Self.frameHeaderBytes, commitSize: log.word(offset + 4), isWhole: false)
      if isSumRight, areSaltsRight || isPreviousWhole {
        // Where only the salts are damaged, SQLite ends the log.
        frame.isWhole = areSaltsRight
        all += bad
        bad = []
        all.append(frame)
      } else if areSaltsRight, bad.isEmpty {
        all.append(frame)
      } else {
        bad.append(frame)
      }
      // The next frame's sum goes on from this one's, whichever of the two is right.
      seeds = isSumRight ? [stored] : [stored, sums[sums.count - 1]]
      isPreviousWhole = isSumRight && areSaltsRight
    }
    isHeaderDamaged = !isHeaderWhole && all.contains { $0.isWhole }
  }

  /// The log's running checksum.
  private struct Sum: Equatable {
    private var a: UInt32 = 0
    private var b: UInt32 = 0

    init() {}

    init(_ a: UInt32, _ b: UInt32) {
      self.a = a
      self.b = b
    }

    mutating func add(_ bytes: UnsafeRawBufferPointer, _ isBigEndian: Bool) {
      var a = a
      var b = b
      var offset = 0
      while offset + 8 <= bytes.count {
        var first = bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
        var second = bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)
        if isBigEndian {
          first = first.byteSwapped
          second = second.byteSwapped
        }
        a = a &+ first &+ b
        b = b &+ second &+ a
        offset += 8
      }
      self.a = a
      self.b = b
    }
  }
}
