import Foundation
import Glibc
import Subprocess
import SystemPackage

/// What an image takes of each stage here, as `weir-worker --profile` measures it at the first time and has kept it afterwards.
///
/// - Parameters:
///   - executables: the folder that holds `weir` and `weir-worker`.
///   - pipeline: its folder.
///   - log: gets what the program says beside, line by line.
package func measuredCosts(
  of stages: [String], pipeline: String, executables: String, log: @escaping @Sendable (String) -> Void
) async throws(FleetError) -> [Placement.Cost] {
  struct Line: Decodable {
    var stage: String
    var steps: Int
    var stepMilliseconds: Double

    enum CodingKeys: String, CodingKey {
      case stage, steps
      case stepMilliseconds = "step_ms"
    }
  }
  let program = "\(executables)/weir-worker"
  // One thread computes one sample after the other: what a core does.
  let arguments = ["--stage", stages.joined(separator: ","), "--pipeline", pipeline, "--threads", "1", "--profile"]
  do {
    let result = try await Subprocess.run(
      .path(FilePath("\(executables)/weir")),
      arguments: Arguments(childArguments(parent: getpid(), executable: program, arguments: arguments)), input: .none,
      output: .string(limit: 1 << 16), error: .string(limit: 1 << 16))
    for line in result.standardError.split(separator: "\n") { log("profile | \(line)") }
    guard case .exited(0) = result.terminationStatus else {
      throw FleetError(.failed, "weir-worker could not measure the stages: its last words are above")
    }
    let costs = try result.standardOutput.split(separator: "\n").map { line in
      let line = try JSONDecoder().decode(Line.self, from: Data(line.utf8))
      return Placement.Cost(stage: line.stage, seconds: line.stepMilliseconds * Double(line.steps) / 1_000)
    }
    guard costs.map(\.stage) == stages, costs.allSatisfy({ $0.seconds > 0 && $0.seconds.isFinite }) else {
      throw FleetError(.failed, "weir-worker measured other stages than it was asked for: \(result.standardOutput)")
    }
    return costs
  } catch let error as FleetError {
    throw error
  } catch {
    throw FleetError(.failed, "cannot measure the stages by \(program): \(error)")
  }
}
