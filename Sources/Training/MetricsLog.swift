import Foundation

/// `metrics.jsonl`: one JSON object a line.
package struct MetricsLog {
  package struct Line: Codable, Hashable, Sendable {
    package var step: Int
    /// Examples seen.
    package var samples: UInt64
    /// Means over the steps since the last line.
    package var loss: Double
    package var gradNorm: Double
    package var lr: Double
    package var samplesPerSecond: Double
    /// Seconds of training of the whole run.
    package var seconds: Double

    enum CodingKeys: String, CodingKey {
      case step, samples, loss, lr, seconds
      case gradNorm = "grad_norm"
      case samplesPerSecond = "samples_per_s"
    }
  }

  private let file: FileHandle

  /// Goes on after `step`: later lines, of a session that was cut off, are dropped.
  package init(path: String, after step: Int) throws(TrainingError) {
    var kept: [UInt8] = []
    if step > 0, let old = FileManager.default.contents(atPath: path) {
      for line in old.split(separator: UInt8(ascii: "\n")) {
        guard let parsed = try? JSONDecoder().decode(Line.self, from: line), parsed.step <= step else { continue }
        kept += line + [UInt8(ascii: "\n")]
      }
    }
    try RunFile.write(kept, to: path)
    guard let file = FileHandle(forWritingAtPath: path) else {
      throw TrainingError(.file, "\(path): cannot be opened for writing")
    }
    _ = file.seekToEndOfFile()
    self.file = file
  }

  package func append(_ line: Line) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    try file.write(contentsOf: encoder.encode(line) + [UInt8(ascii: "\n")])
  }
}
