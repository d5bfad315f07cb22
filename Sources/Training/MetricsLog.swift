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
    let kept = step > 0 ? Self.lines(path).filter { $0.parsed.step <= step } : []
    try RunFile.write(kept.flatMap { $0.bytes + [UInt8(ascii: "\n")] }, to: path)
    guard let file = FileHandle(forWritingAtPath: path) else {
      throw TrainingError(.file, "\(path): cannot be opened for writing")
    }
    _ = file.seekToEndOfFile()
    self.file = file
  }

  /// What a file holds; a line that was cut off is left out.
  package static func read(_ path: String) -> [Line] { lines(path).map(\.parsed) }

  private static func lines(_ path: String) -> [(bytes: Data, parsed: Line)] {
    (FileManager.default.contents(atPath: path) ?? Data()).split(separator: UInt8(ascii: "\n")).compactMap { line in
      (try? JSONDecoder().decode(Line.self, from: line)).map { (line, $0) }
    }
  }

  package func append(_ line: Line) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    try file.write(contentsOf: encoder.encode(line) + [UInt8(ascii: "\n")])
  }
}
