import Diffusion
import Foundation
import Images
import Testing

@testable import Training

@Suite struct DataTests {
  @Test func missingFolderIsNamed() throws {
    let error = #expect(throws: TrainingError.self) { try DataFolder(root: "/nowhere/at all", labels: ["a"]) }
    #expect(error?.message.contains("/nowhere/at all") == true)
  }

  @Test func missingAndEmptyClassesAreNamed() throws {
    let folder = try TemporaryFolder()
    try makeData(in: folder.path, labels: ["a"], count: 1, side: 16)
    let missing = #expect(throws: TrainingError.self) { try DataFolder(root: folder.path, labels: ["a", "b", "c"]) }
    #expect(missing?.message.contains("b, c") == true)
    try FileManager.default.createDirectory(atPath: "\(folder.path)/b", withIntermediateDirectories: true)
    let empty = #expect(throws: TrainingError.self) { try DataFolder(root: folder.path, labels: ["a", "b"]) }
    #expect(empty?.message.contains("class b") == true)
    try RunFile.write([1], to: "\(folder.path)/b/x.jpg")
    let other = #expect(throws: TrainingError.self) { try DataFolder(root: folder.path, labels: ["a", "b"]) }
    #expect(other?.message.contains("x.jpg") == true && other?.message.contains("mogrify") == true)
  }

  @Test func labelsFollowThePipelineNotTheAlphabet() throws {
    let folder = try TemporaryFolder()
    try makeData(in: folder.path, labels: ["a", "b"], count: 2, side: 16)
    let data = try DataFolder(root: folder.path, labels: ["b", "a"])
    #expect(data.items.map(\.path) == ["b/0.png", "b/1.png", "a/0.png", "a/1.png"])
    #expect(data.items.map(\.label) == [0, 0, 1, 1])
  }

  @Test(arguments: [false, true]) func brokenImagesAreSkippedAndSmallOnesEnlarged(decoding: Bool) throws {
    let folder = try TemporaryFolder()
    try makeData(in: folder.path, labels: ["a", "b"], count: 3, side: 16)
    let good = try #require(FileManager.default.contents(atPath: "\(folder.path)/a/1.png"))
    try RunFile.write([UInt8](good.prefix(good.count / 2)), to: "\(folder.path)/a/1.png")
    let small = RGBImage(width: 4, height: 6, pixels: [UInt8](repeating: 51, count: 72))
    try RunFile.write(small.png(), to: "\(folder.path)/a/2.png")
    let data = try DataFolder(root: folder.path, labels: ["a", "b"])
    func source(_ messages: Messages) throws -> any PixelSource {
      decoding
        ? try DecodingSource(folder: data, side: 8, path: "\(folder.path)/found", report: messages.add)
        : try CachedSource(folder: data, side: 8, path: "\(folder.path)/cache", report: messages.add)
    }
    let messages = Messages()
    let first = try source(messages)
    #expect(first.count == 5)
    #expect(messages.all.filter { $0.contains("a/1.png") }.count == 1)
    #expect(messages.all.contains("1 of 6 images skipped"))
    #expect(messages.all.contains { $0.hasPrefix("1 of 6 images are smaller than 8x8") })
    #expect((0..<5).map(first.label) == [0, 0, 1, 1, 1])
    for value in try first.image(1).planes { #expect(abs(value - (51 / 127.5 - 1)) < 1e-5, "the small one's colour") }

    // The next session knows.
    let later = Messages()
    let second = try source(later)
    #expect(try (0..<5).map { try second.image($0).planes } == (0..<5).map { try first.image($0).planes })
    #expect(!later.all.contains("1 of 6 images skipped"))
  }

  @Test func aBrokenClassIsNamed() throws {
    let folder = try TemporaryFolder()
    try makeData(in: folder.path, labels: ["a", "b"], count: 2, side: 16)
    for name in ["b/0.png", "b/1.png"] { try RunFile.write([], to: "\(folder.path)/\(name)") }
    let data = try DataFolder(root: folder.path, labels: ["a", "b"])
    let cached = #expect(throws: TrainingError.self) { try CachedSource(folder: data, side: 8, path: "\(folder.path)/cache") { _ in } }
    let decoding = #expect(throws: TrainingError.self) { try DecodingSource(folder: data, side: 8, path: "\(folder.path)/found") { _ in } }
    for error in [cached, decoding] { #expect(error?.message.contains("no readable image of b;") == true) }
  }

  @Test func aFileThatVanishesIsNamed() throws {
    let folder = try TemporaryFolder()
    try makeData(in: folder.path, labels: ["a"], count: 2, side: 16)
    let source = try DecodingSource(folder: DataFolder(root: folder.path, labels: ["a"]), side: 8, path: "\(folder.path)/found") { _ in }
    try FileManager.default.removeItem(atPath: "\(folder.path)/a/1.png")
    #expect(try source.image(0).label == 0)
    let error = #expect(throws: TrainingError.self) { try source.image(1) }
    #expect(error?.message.contains("a/1.png") == true)
  }

  @Test func cacheIsUsedAgainAndMadeAnewWhenTheFolderChanges() throws {
    let folder = try TemporaryFolder()
    try makeData(in: folder.path, labels: ["a", "b"], count: 2, side: 16)
    let path = "\(folder.path)/cache"
    let first = try CachedSource(folder: DataFolder(root: folder.path, labels: ["a", "b"]), side: 8, path: path) { _ in }
    let bytes = try #require(FileManager.default.contents(atPath: path))
    // The last byte is a pixel: a changed one shows that the file was read, not made again.
    try RunFile.write([UInt8](bytes.dropLast()) + [bytes.last.map { $0 ^ 0xff } ?? 0], to: path)
    let again = try CachedSource(folder: DataFolder(root: folder.path, labels: ["a", "b"]), side: 8, path: path) { _ in }
    #expect(try again.image(0).planes == first.image(0).planes)
    #expect(try again.image(3).planes != first.image(3).planes)
    #expect(again.label(3) == 1)

    try RunFile.write([UInt8](bytes.dropLast()), to: path)
    let repaired = try CachedSource(folder: DataFolder(root: folder.path, labels: ["a", "b"]), side: 8, path: path) { _ in }
    #expect(try repaired.image(3).planes == first.image(3).planes, "a cut cache is made again")

    try makeData(in: folder.path, labels: ["a", "b"], count: 3, side: 16)
    let grown = try CachedSource(folder: DataFolder(root: folder.path, labels: ["a", "b"]), side: 8, path: path) { _ in }
    #expect(grown.count == 6)
  }

  @Test func areaAveragesBoxesAndFractions() throws {
    let image = RGBImage(width: 4, height: 4, pixels: (0..<48).map { UInt8($0 % 3 == 0 ? $0 / 3 : 0) })
    let half = try #require(Resampling.area(image, side: 2))
    #expect(Array(half[0..<4]) == [2.5, 4.5, 10.5, 12.5])
    // 4 -> 3: the first covers pixel 0 and a third of pixel 1, on both axes.
    let third = try #require(Resampling.area(image, side: 3))
    #expect(abs(third[0] - (0.25 + 4 * 0.25)) < 1e-5)
    // Wide images: the centre square.
    let wide = RGBImage(width: 6, height: 2, pixels: (0..<36).map { UInt8($0 / 3 % 6) })
    #expect(Resampling.area(wide, side: 1)?.first == 2.5)
    #expect(Resampling.area(wide, side: 3) == nil)
    #expect(Resampling.square(wide, side: 1) == Resampling.area(wide, side: 1))
    // Smaller ones: bilinear, half-pixel centres; the square has the columns 2 and 3.
    #expect(Array(Resampling.square(wide, side: 4)[0..<4]) == [2, 2.25, 2.75, 3])
    let tall = RGBImage(width: 2, height: 6, pixels: (0..<36).map { UInt8($0 / 6) })
    #expect([0, 4, 8, 12].map { Resampling.square(tall, side: 4)[$0] } == [2, 2.25, 2.75, 3])
  }

  @Test func boxAverageOfAnAverageIsTheAverage() throws {
    let image = RGBImage(width: 16, height: 16, pixels: (0..<768).map { UInt8($0 * 37 % 256) })
    let whole = try #require(Resampling.area(image, side: 16))
    let direct = try #require(Resampling.area(image, side: 4))
    let chained = Resampling.boxAverage(Resampling.boxAverage(whole, side: 16, factor: 2), side: 8, factor: 2)
    for (a, b) in zip(direct, chained) { #expect(abs(a - b) < 1e-3) }
  }

  @Test func bilinearIsHalfPixelAndAWindowIsAPartOfTheWhole() {
    let row: [Float] = [0, 10, 20, 40]
    let planes = (0..<4).flatMap { _ in row }
    let whole = Resampling.bilinearWindow(planes, side: 4, target: 8, top: 0, left: 0, height: 8, width: 8)
    #expect(Array(whole[0..<8]) == [0, 2.5, 7.5, 12.5, 17.5, 25, 35, 40])
    let part = Resampling.bilinearWindow(planes, side: 4, target: 8, top: 3, left: 2, height: 2, width: 4)
    #expect(part == Resampling.window(whole, side: 8, top: 3, left: 2, height: 2, width: 4))
  }

  @Test func blurKeepsConstantsAndSpreadsAPoint() {
    let flat = [Float](repeating: 0.5, count: 27)
    for value in Resampling.blurred(flat, side: 3, sigma: 0.5) { #expect(abs(value - 0.5) < 1e-6) }
    var point = [Float](repeating: 0, count: 25)
    point[12] = 1
    let out = Resampling.blurred(point, side: 5, sigma: 0.5)
    #expect(abs(out[12] - 0.7869860 * 0.7869860) < 1e-5)
    #expect(abs(out[11] - 0.1065070 * 0.7869860) < 1e-5)
    #expect(abs(out[6] - 0.1065070 * 0.1065070) < 1e-5)
  }

  @Test func everyImageOncePerEpochInANewOrder() {
    var order = EpochOrder(count: 10, seed: 3)
    let first = (0..<10).map { order.index(ofExample: $0) }
    let second = (10..<20).map { order.index(ofExample: $0) }
    #expect(first.sorted() == Array(0..<10))
    #expect(second.sorted() == Array(0..<10))
    #expect(first != second)
    #expect(order.index(ofExample: 4) == first[4], "an epoch can be gone back to")
  }
}
