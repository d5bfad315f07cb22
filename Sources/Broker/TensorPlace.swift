import Wire

/// Where a tensor lies in a journal's tensor files, as one number, which its row has in the tensor's stead.
///
/// Tensors begin at a page's start, so that no two share one. 15 bits are the number of pages, 15 the first of them, the rest the file.
struct TensorPlace: Hashable {
  static let pageBytes = 4_096
  private static let bits: Int64 = 15
  private static let mask: Int64 = 1 << bits - 1

  let file: Int64
  let firstPage: Int64
  let pages: Int64

  /// - Precondition: offset and count are below 128 MiB, and the offset is a page's start.
  init(file: Int64, offset: Int, count: Int) {
    precondition(offset % Self.pageBytes == 0, "a tensor does not begin at a page's start")
    self.file = file
    firstPage = Int64(offset / Self.pageBytes)
    pages = Int64((count + Self.pageBytes - 1) / Self.pageBytes)
    precondition(firstPage <= Self.mask && pages <= Self.mask, "a tensor is too large for its file")
  }

  /// Any number is a place, though perhaps one where nothing is.
  init(journalValue: Int64) {
    file = journalValue >> (2 * Self.bits)
    firstPage = journalValue >> Self.bits & Self.mask
    pages = journalValue & Self.mask
  }

  var journalValue: Int64 { file << (2 * Self.bits) | firstPage << Self.bits | pages }

  /// All that a file's places can be.
  static func values(ofFile file: Int64) -> ClosedRange<Int64> { file << (2 * bits)...(file + 1) << (2 * bits) - 1 }

  var offset: Int { Int(firstPage) * Self.pageBytes }
  /// The last tensor of a file does not fill its last page.
  var end: Int { Int(firstPage + pages) * Self.pageBytes }
}
