import ArgumentParser
import Foundation

/// A line of sweep.jsonl.
struct SweepResult: Codable {
  let setting: SweepSetting
  let pipeline, data: String
  let count: Int
  /// Samples of each input; `nil`: one.
  let draws: Int?
  let seed: UInt64
  let kid, fid: Double
  /// `psnrOfMean`: of the mean of an input's samples.
  let psnr, psnrOfMean, ssim: Double?
  let secondsPerSample: Double

  var line: String {
    String(format: "%@: KID %.4f  FID %.1f  ", setting.name, kid, fid) + (psnr.map { String(format: "PSNR %.2f dB  ", $0) } ?? "")
      + (psnrOfMean.map { String(format: "PSNR of the mean %.2f dB  ", $0) } ?? "")
      + (ssim.map { String(format: "SSIM %.4f  ", $0) } ?? "") + String(format: "%.3f s a sample", secondsPerSample)
  }

  private static var coder: (JSONEncoder, JSONDecoder) {
    let (encoder, decoder) = (JSONEncoder(), JSONDecoder())
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return (encoder, decoder)
  }

  static func read(_ path: String) throws -> [SweepResult] {
    guard FileManager.default.fileExists(atPath: path) else { return [] }
    return try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").enumerated().map { number, line in
      do { return try coder.1.decode(SweepResult.self, from: Data(line.utf8)) } catch {
        throw ValidationError("\(path), line \(number + 1): not a sweep's result; remove the file, or choose another --out")
      }
    }
  }

  static func append(_ result: SweepResult, to path: String) throws {
    let lines = FileManager.default.fileExists(atPath: path) ? try Data(contentsOf: URL(fileURLWithPath: path)) : Data()
    try (lines + coder.0.encode(result) + Data("\n".utf8)).write(to: URL(fileURLWithPath: path), options: .atomic)
  }
}
