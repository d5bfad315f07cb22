import ArgumentParser
import Foundation
import Load

struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare", abstract: "Says what changed between two load tests, and whether it is more than the noise.",
    discussion: "A change counts if no run of the one lies within the range of the other's runs: so both have to be made with --repeats.")

  @Argument(help: "What 'weir-load run --json' wrote before.")
  var before: String

  @Argument(help: "And after.")
  var after: String

  func run() throws {
    let comparison = LoadComparison(try read(before), try read(after))
    func padded(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
    for line in comparison.lines {
      let change = line.change.map { String(format: "%+.1f %%", $0) } ?? ""
      print(
        line.name.padding(toLength: 24, withPad: " ", startingAt: 0), padded(String(format: "%.3f", line.before), 12),
        padded(String(format: "%.3f", line.after), 12), padded(change, 10), " ", line.verdict.rawValue)
    }
  }

  private func read(_ path: String) throws -> LoadResult {
    do {
      return try JSONDecoder.report.decode(LoadResult.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
    } catch {
      throw ValidationError("\(path) is no report of 'weir-load run --json': \(error)")
    }
  }
}

extension JSONEncoder {
  /// As reports are written.
  static var report: JSONEncoder {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.nonConformingFloatEncodingStrategy = .convertToString(positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return encoder
  }
}

extension JSONDecoder {
  static var report: JSONDecoder {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return decoder
  }
}
