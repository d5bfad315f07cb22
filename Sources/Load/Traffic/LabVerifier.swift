import Digests
import Foundation
import Subprocess
import SystemPackage
import Wire

/// Of fleets with networks: `weir-lab sample`, the serial reference, draws the images once more in a process of its own. It takes as long as they
/// took.
package struct LabVerifier: Verifier {
  private static let maxOutputBytes = 256 << 20

  private let program: String
  private let pipeline: String

  /// - Parameters:
  ///   - executables: the folder that holds `weir-lab`.
  ///   - pipeline: the pipeline's folder, the same that the fleet's workers have.
  package init(executables: String, pipeline: String) {
    program = "\(executables)/weir-lab"
    self.pipeline = pipeline
  }

  package func references(of samples: [ReferenceSample]) async throws -> [Reference] {
    var references: [ReferenceSample: Reference] = [:]
    // Options are those of a whole run of the program.
    let groups = Dictionary(grouping: Set(samples)) { Options(options: $0.options, truncated: $0.truncated) }
    for (options, group) in groups.sorted(by: { $0.key.flags.lexicographicallyPrecedes($1.key.flags) }) {
      let ordered = group.sorted { ($0.label, $0.seed) < ($1.label, $1.seed) }
      references.merge(try await draw(ordered, options)) { first, _ in first }
    }
    return try samples.map { sample in
      guard let reference = references[sample] else { throw Broken("weir-lab drew no image of label \(sample.label), seed \(sample.seed)") }
      return reference
    }
  }

  private struct Options: Hashable {
    var options: [StageOptions]
    var truncated: Bool

    var flags: [String] {
      func flag(_ name: String, _ value: (StageOptions) -> String?) -> [String] {
        let values = options.compactMap { stage in value(stage).map { "\(stage.stage)=\($0)" } }
        return values.isEmpty ? [] : [name, values.joined(separator: ",")]
      }
      return flag("--steps") { $0.steps.map { "\($0)" } } + flag("--sampler") { $0.sampler } + flag("--eta") { $0.eta.map { "\($0)" } }
        + flag("--aug") { $0.aug.map { "\($0)" } } + flag("--guidance") { $0.guidance.map { "\($0)" } } + (truncated ? ["--truncated"] : [])
    }
  }

  private func draw(_ samples: [ReferenceSample], _ options: Options) async throws -> [ReferenceSample: Reference] {
    let folder = FileManager.default.temporaryDirectory.appending(path: "weir-reference-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let list = "\(folder)/samples"
    try Data(samples.map { "\($0.label),\($0.seed)\n" }.joined().utf8).write(to: URL(fileURLWithPath: list))
    let arguments = ["sample", "--pipeline", pipeline, "--samples", list, "--out", "\(folder)/images", "--json"] + options.flags
    let result = try await Subprocess.run(
      .path(FilePath(program)), arguments: Arguments(arguments), input: .none, output: .string(limit: Self.maxOutputBytes),
      error: .string(limit: Self.maxOutputBytes))
    guard case .exited(0) = result.terminationStatus else {
      throw Broken(
        "\(program) \(arguments.joined(separator: " ")) failed: \(result.terminationStatus)\n\(result.standardError.suffix(2_000))")
    }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let report = try decoder.decode(Report.self, from: Data(result.standardOutput.utf8))
    guard report.images.count == samples.count else {
      throw Broken("\(program) was asked for \(samples.count) images and drew \(report.images.count)")
    }
    let references = try report.images.map { image in
      Reference(
        digests: try image.stageDigests.map { text in
          guard let digest = bytes(hex: text) else { throw Broken("\(program): '\(text)' is no digest") }
          return digest
        }, numerics: report.numerics)
    }
    return Dictionary(uniqueKeysWithValues: zip(samples, references))
  }

  /// What of its JSON is needed.
  private struct Report: Decodable {
    struct Image: Decodable {
      var stageDigests: [String]
    }

    var numerics: String
    var images: [Image]
  }
}
