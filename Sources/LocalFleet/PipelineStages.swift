import Foundation

/// The stage names of a pipeline folder, in order.
package func pipelineStages(_ folder: String) throws(FleetError) -> [String] {
  struct Manifest: Decodable {
    struct Stage: Decodable { var name: String }
    var stages: [Stage]
  }
  let path = "\(folder)/cascade.json"
  guard let handle = FileHandle(forReadingAtPath: path) else {
    throw FleetError(.pipeline, "'\(folder)' is no pipeline: cannot read \(path)")
  }
  defer { try? handle.close() }
  do {
    let limit = 1 << 20
    let data = try handle.read(upToCount: limit + 1) ?? Data()
    guard data.count <= limit else { throw FleetError(.pipeline, "\(path) is larger than 1 MiB: that is no manifest") }
    let stages = try JSONDecoder().decode(Manifest.self, from: data).stages.map(\.name)
    guard !stages.isEmpty, stages.allSatisfy({ !$0.isEmpty }) else { throw FleetError(.pipeline, "\(path) names no stages") }
    return stages
  } catch let error as FleetError {
    throw error
  } catch {
    throw FleetError(.pipeline, "\(path) is no pipeline manifest: \(error)")
  }
}
