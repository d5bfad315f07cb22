import Client
import Testing
import Wire
import Worker

/// Fetches every image of a job and compares it with what the synthetic engine gives for it.
func expectReference(
  _ job: JobID, of submission: Submission, from client: WeirClient, sourceLocation: SourceLocation = #_sourceLocation
) async throws {
  var sample: UInt32 = 0
  for run in submission.runs {
    let label = try #require(labelIndex(run.label))
    for offset in 0..<run.count {
      let seed = run.seed &+ UInt64(offset)
      let image = try await client.fetch(job, sample: sample)
      let expected = try SyntheticEngine.reference(
        label: label, seed: seed, options: submission.options, truncated: submission.truncated)
      #expect(image.label == label && image.seed == seed, "sample \(sample) of job \(job)", sourceLocation: sourceLocation)
      #expect(image.tensor == expected, "sample \(sample) of job \(job)", sourceLocation: sourceLocation)
      sample += 1
    }
  }
}

private func labelIndex(_ text: String) -> UInt32? {
  SyntheticEngine.pipeline.labels.firstIndex(of: text).map { UInt32($0) } ?? UInt32(text)
}

/// Options that give every stage this many steps.
func steps(_ base: UInt32, _ sr64: UInt32, _ sr256: UInt32) -> [StageOptions] {
  zip(syntheticStages, [base, sr64, sr256]).map { StageOptions(stage: $0, steps: $1) }
}

let syntheticStages = SyntheticEngine.pipeline.stages.map(\.name)
