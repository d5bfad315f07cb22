import Foundation
import Images
import Testing

extension FleetTests {
  /// `weir-lab eval` on images and the real feature net.
  @Suite struct EvalTests {
    private struct Report: Decodable, Equatable {
      struct OfClass: Decodable, Equatable { let name: String, images: Int, kid: Double, precision: Double?, neighbourAccuracy: Double }
      struct Classification: Decodable, Equatable {
        struct Score: Decodable, Equatable { let images: Int, top1, top5: Double }
        let classifier: String, generated: Score, real: Score?
      }
      struct Memorisation: Decodable, Equatable {
        struct Pair: Decodable, Equatable { let image, trainingImage: String, distance: Double }
        let nearerThanHeldOut: Int, nearestPairs: [Pair]
      }
      let images: Int, fid, kid, precision, coverage: Double
      let classes: [OfClass], classification: Classification, memorisation: Memorisation
    }

    /// Stripes and checks, in a colour for each number.
    private func write(_ folder: String, _ label: String, numbers: Range<Int>, inFolders: Bool = true) throws {
      let place = inFolders ? "\(folder)/\(label)" : folder
      try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
      for number in numbers {
        let pixels = (0..<16 * 16).flatMap { index -> [UInt8] in
          let (x, y) = (index % 16, index / 16)
          let isLight = label == "stripes" ? y % 4 < 2 : (x / 4 + y / 4) % 2 == 0
          return [UInt8(isLight ? 250 : 20), UInt8(number * 23 % 256), UInt8(number * 71 % 256)]
        }
        try Data(RGBImage(width: 16, height: 16, pixels: pixels).png(text: [("weir:label", label)])).write(
          to: URL(fileURLWithPath: "\(place)/\(label)-\(100 + number).png"))
      }
    }

    @Test func imagesAreJudged() async throws {
      let root = FileManager.default.temporaryDirectory.appending(path: "weir-eval-\(UUID().uuidString)").path
      defer { try? FileManager.default.removeItem(atPath: root) }
      for label in ["checks", "stripes"] {
        try write("\(root)/test", label, numbers: 0..<5)
        try write("\(root)/train", label, numbers: 20..<25)
        // The last one is a training image; they lie in one folder, as Weir writes them.
        try write("\(root)/samples", label, numbers: 10..<14, inFolders: false)
        try write("\(root)/samples", label, numbers: 24..<25, inFolders: false)
      }
      let folders = ["--samples", "\(root)/samples", "--reference", "\(root)/test"]
      let flags = ["eval", "--features", try featureNet(), "--cache", "\(root)/cache"] + folders
      let all = flags + ["--train", "\(root)/train", "--sheet", "\(root)/pairs.png", "--pairs", "5", "--json"]
      let first = try await run("weir-lab", all)
      #expect(first.status == 0, "\(first)")
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      let report = try decoder.decode(Report.self, from: Data(first.output.utf8))
      #expect(report.images == 10 && report.classes.map(\.name) == ["checks", "stripes"] && report.classes.allSatisfy { $0.images == 5 })
      // Patterns that are so different no net confuses.
      #expect(report.classification.generated.top1 == 1 && report.classification.real?.images == 10, "\(report)")
      #expect(report.classes.allSatisfy { $0.neighbourAccuracy == 1 })
      let pairs = report.memorisation.nearestPairs
      #expect(pairs.count == 5 && report.memorisation.nearerThanHeldOut >= 2)
      for pair in pairs.prefix(2) {
        #expect(
          pair.distance < 1e-3 && pair.image.hasSuffix("-124.png") && pair.trainingImage.hasSuffix(String(pair.image.suffix(12))),
          "\(pair)")
      }
      let sheet = try RGBImage(png: [UInt8](Data(contentsOf: URL(fileURLWithPath: "\(root)/pairs.png"))))
      // Five pairs of 16 + 16 pixels with a line around each image, in rows of four.
      #expect(sheet.width == 4 * (35 + 6) + 6 && sheet.height == 2 * (18 + 6) + 6, "\(sheet.width) x \(sheet.height)")

      // The features are known now; for people there is a table.
      let kept = try FileManager.default.contentsOfDirectory(atPath: "\(root)/cache").sorted()
      let text = try await run("weir-lab", flags)
      #expect(text.status == 0, "\(text)")
      #expect(try FileManager.default.contentsOfDirectory(atPath: "\(root)/cache").sorted() == kept && kept.count == 6)
      for words in [
        "class    generated  real", "checks           5     5", "by logistic regression", "learnt from 10 generated images: top-1 1",
      ] {
        #expect(text.output.contains(words), "\(words): \(text.output)")
      }
      for wrong in [["--sheet", "a.png"], ["--train", "\(root)/train", "--pairs", "0"], ["--train", "\(root)/nowhere"]] {
        let result = try await run("weir-lab", flags + wrong)
        #expect(result.status != 0 && result.status < 126, "\(wrong): \(result)")
      }
    }
  }
}
