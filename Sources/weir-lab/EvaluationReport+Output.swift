import Evaluation
import Foundation

extension EvaluationReport {
  /// One object, on one line.
  var json: String {
    get throws {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      encoder.keyEncodingStrategy = .convertToSnakeCase
      return String(decoding: try encoder.encode(self), as: UTF8.self)
    }
  }

  /// For people.
  var text: String {
    var lines = [
      "\(images) generated images against \(referenceImages) real ones",
      "FID                \(short(fid))",
      "KID                \(short(kid))\(kidDeviation > 0 ? " ± \(short(kidDeviation))" : "")",
    ]
    if let inceptionScore { lines.append("inception score    \(short(inceptionScore))") }
    lines.append("precision, recall  \(short(precision)), \(short(recall))")
    lines.append("density, coverage  \(short(density)), \(short(coverage))")
    if let neighbourAccuracy { lines.append("5-NN accuracy      \(short(neighbourAccuracy))") }
    if let classes { lines += ["", table(classes)] }
    if let classification { lines += ["", text(classification)] }
    if let memorisation { lines += ["", text(memorisation)] }
    return lines.joined(separator: "\n")
  }

  private func table(_ classes: [OfClass]) -> String {
    let rows = classes.map {
      [
        $0.name, "\($0.images)", "\($0.referenceImages)", short($0.kid), $0.precision.map(short) ?? "-", $0.recall.map(short) ?? "-",
        short($0.neighbourAccuracy),
      ]
    }
    let all = [["class", "generated", "real", "KID", "precision", "recall", "5-NN accuracy"]] + rows
    let widths = all[0].indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    func padding(_ cell: String, _ width: Int) -> String { String(repeating: " ", count: width - cell.count) }
    return all.map { row in
      row.indices.map { $0 == 0 ? row[0] + padding(row[0], widths[0]) : padding(row[$0], widths[$0]) + row[$0] }.joined(separator: "  ")
    }.joined(separator: "\n")
  }

  private func text(_ score: ClassificationAccuracy) -> String {
    func line(_ name: String, _ score: ClassificationAccuracy.Score) -> String {
      "learnt from \(score.images) \(name) images: top-1 \(short(score.top1)), top-5 \(short(score.top5))"
    }
    let lines = ["classification accuracy of \(score.testImages) real images by \(score.classifier),", line("generated", score.generated)]
    return (lines + (score.real.map { [line("training", $0)] } ?? [])).joined(separator: "\n")
  }

  private func text(_ memorisation: Memorisation) -> String {
    let lines = [
      "distance to the nearest training image, 1st percentile: generated \(short(memorisation.generatedFirstPercentile)), held out "
        + "\(short(memorisation.heldOutFirstPercentile)); \(memorisation.nearerThanHeldOut) generated images are nearer than that",
      "nearest pairs, generated and training image:",
    ]
    return (lines + memorisation.nearestPairs.map { "\(short($0.distance))  \($0.image)  \($0.trainingImage)" }).joined(separator: "\n")
  }
}

private func short(_ value: Double) -> String { String(format: "%.5g", value) }
