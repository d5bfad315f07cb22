import Cascade
import Tensors
import Testing

@Suite struct BenchmarkTests {
  @Test(arguments: [0, 1, 2], [1, 3]) func timesAreOfTheStageAndBatchAsked(_ stage: Int, _ batch: Int) throws {
    let pipeline = try Pipeline.load(TinyPipeline.shared.get().directory)
    let engine = try StageEngine(pipeline, stage: stage, dtype: .f32, threads: 2)
    let result = try StageBenchmark.measure(engine, batch: batch, repeats: 2)
    #expect(result.stage == pipeline.manifest.stages[stage].name && result.batch == batch && result.dtype == "f32")
    #expect(result.stepMilliseconds > 0 && result.convMilliseconds > 0 && result.gflops > 0)
    #expect(result.gflops.isFinite && abs(result.ratio - result.stepMilliseconds / result.convMilliseconds) < 1e-9)
  }
}
