import Foundation
package import Wire

/// Which samples a command line asks for.
package enum SampleList {
  /// The word that stands for every label of the pipeline.
  package static let all = "all"
  /// Bytes of a `--samples` file at most.
  private static let maxFileBytes = 16 << 20

  /// `--label NAME|N|a,b,c|all`.
  package static func labels(_ text: String) throws(UsageError) -> [String] {
    let names = text.split(separator: ",", omittingEmptySubsequences: false).map { $0.trimmingCharacters(in: .whitespaces) }
    guard names.allSatisfy({ !$0.isEmpty }) else {
      throw UsageError("--label '\(text)' has an empty name: write NAME, a number, a list a,b,c or all")
    }
    if let twice = firstDuplicate(names) {
      throw UsageError("--label '\(text)' names '\(twice)' twice: use --count for more samples of it")
    }
    if names.count > 1, names.contains(all) { throw UsageError("--label '\(text)' mixes 'all' with names: 'all' alone is every label") }
    return names
  }

  /// `count` samples of each label, every label from the same seed on.
  package static func runs(labels: [String], seed: UInt64, count: UInt32) -> [SampleRun] {
    labels.map { SampleRun(label: $0, seed: seed, count: count) }
  }

  /// A `--samples` file.
  package static func runs(file path: String) throws(UsageError) -> [SampleRun] {
    guard let handle = FileHandle(forReadingAtPath: path) else {
      throw UsageError("--samples: cannot read '\(path)': no such file, or no permission")
    }
    defer { try? handle.close() }
    let data: Data
    do {
      data = try handle.read(upToCount: maxFileBytes + 1) ?? Data()
    } catch {
      throw UsageError("--samples: cannot read '\(path)': \(error.localizedDescription)")
    }
    guard data.count <= maxFileBytes else { throw UsageError("--samples: '\(path)' is larger than \(maxFileBytes >> 20) MiB: split it") }
    guard let text = String(validating: data, as: UTF8.self) else { throw UsageError("--samples: '\(path)' is not UTF-8 text") }
    return try runs(csv: text, name: path)
  }

  /// Lines of `label,seed`; a first line `label,seed`, empty lines and lines that begin with # don't count. Neighbours of one label with
  /// consecutive seeds become one run.
  package static func runs(csv: String, name: String) throws(UsageError) -> [SampleRun] {
    var runs: [SampleRun] = []
    var isFirst = true
    for (index, line) in csv.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
      let line = line.trimmingCharacters(in: .whitespaces)
      if line.isEmpty || line.hasPrefix("#") { continue }
      let cells = line.split(separator: ",", omittingEmptySubsequences: false).map { $0.trimmingCharacters(in: .whitespaces) }
      defer { isFirst = false }
      if isFirst, cells == ["label", "seed"] { continue }
      guard cells.count == 2, !cells[0].isEmpty, let seed = UInt64(cells[1]) else {
        throw UsageError("\(name), line \(index + 1): '\(line.prefix(80))' is not label,seed with a seed from 0 to \(UInt64.max)")
      }
      if let last = runs.last, last.label == cells[0], last.count < UInt32.max, last.seed &+ UInt64(last.count) == seed {
        runs[runs.count - 1].count += 1
      } else {
        runs.append(SampleRun(label: cells[0], seed: seed))
      }
    }
    guard !runs.isEmpty else { throw UsageError("\(name) names no samples: write one 'label,seed' a line") }
    return runs
  }
}

/// A flag that makes no sense. The message names the flag and says what to write.
package struct UsageError: Error, Hashable, Sendable, CustomStringConvertible {
  package var message: String

  package init(_ message: String) { self.message = message }

  package var description: String { message }
}

func firstDuplicate(_ names: [String]) -> String? {
  var seen: Set<String> = []
  return names.first { !seen.insert($0).inserted }
}
