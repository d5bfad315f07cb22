import Testing
import Wire

@testable import Broker

struct AdmissionTests {
  let pipeline = PipelineInfo(
    name: "p", digest: [UInt8](repeating: 1, count: 32), labels: ["a", "b", "c"],
    stages: [
      StageInfo(name: "base", resolution: 32, trainSteps: 1000, defaultSteps: 20, defaultSampler: "dpm++2m"),
      StageInfo(
        name: "up", resolution: 64, trainSteps: 100, defaultSteps: 10, defaultSampler: "dpm++2m", defaultAug: 50, takesAug: true,
        defaultGuidance: 1.5),
    ])

  @Test func allIsEveryLabel() throws {
    let samples = try Admission.samples(
      of: [SampleRun(label: "all", seed: .max, count: 2), SampleRun(label: "1", seed: 5)], labels: pipeline.labels, limit: 7)
    #expect(samples.map(\.label) == [0, 0, 1, 1, 2, 2, 1])
    #expect(samples.map(\.seed) == [.max, 0, .max, 0, .max, 0, 5])
    #expect(throws: Refusal.self) {
      try Admission.samples(of: [SampleRun(label: "all", seed: 0, count: .max)], labels: pipeline.labels, limit: 7)
    }
  }

  @Test func aLabelOfThatNameComesFirst() throws {
    let samples = try Admission.samples(of: [SampleRun(label: "all", seed: 1)], labels: ["one", "all"], limit: 7)
    #expect(samples.map(\.label) == [1])
  }

  @Test func optionsOfEveryStage() throws {
    let asked = [
      StageOptions(stage: "up", steps: 7, eta: 1), StageOptions(stage: "", steps: 9, sampler: "ddim", eta: 0.5, aug: 30),
    ]
    #expect(
      try Admission.options(asked, truncated: false, for: pipeline) == [
        StageOptions(stage: "base", steps: 9, sampler: "ddim", eta: 0.5, aug: 0),
        StageOptions(stage: "up", steps: 7, sampler: "ddim", eta: 1, aug: 30, guidance: 1.5),
      ])
  }

  /// Asked of every stage, guidance is that of the ones that can be guided; of one that can't be, only none.
  @Test(arguments: [("", 3.0), ("up", 3), ("up", 0), ("base", 1)]) func guidance(_ stage: String, _ weight: Double) throws {
    let options = try Admission.options([StageOptions(stage: stage, guidance: weight)], truncated: false, for: pipeline)
    #expect(options.map(\.guidance) == [nil, stage == "base" ? 1.5 : weight])
  }

  @Test(arguments: [
    [StageOptions(stage: "", steps: 101)], [StageOptions(stage: "", sampler: "euler")], [StageOptions(stage: ""), StageOptions(stage: "")],
    [StageOptions(stage: "base", aug: 1)], [StageOptions(stage: "", aug: 101)], [StageOptions(stage: "other")],
    [StageOptions(stage: "base", guidance: 2)], [StageOptions(stage: "up", guidance: -1)], [StageOptions(stage: "", guidance: 101)],
  ])
  func optionsThatMakeNoSense(_ asked: [StageOptions]) {
    #expect(throws: Refusal.self) { try Admission.options(asked, truncated: false, for: pipeline) }
  }
}
