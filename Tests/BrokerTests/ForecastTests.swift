import Testing
import Wire

@testable import Broker

struct ForecastTests {
  @Test func anIdleFleetTakesTheSumOfTheStages() {
    let forecast = Forecast(stages: [.init(workers: 1, sample: 100), .init(workers: 2, sample: 300)])
    #expect(forecast.milliseconds(samples: 1, weight: 1) == 400)
    // Of many, the slowest stage decides: ten through two workers, after the first has come.
    #expect(forecast.milliseconds(samples: 10, weight: 1) == 400 + (10 * 300 / 2 - 300))
  }

  @Test func whatIsAheadCounts() {
    var stage = Forecast.Stage(workers: 1, sample: 100)
    stage.higher = 1_000
    #expect(Forecast(stages: [stage]).milliseconds(samples: 1, weight: 1) == 1_100)
    stage.own = 400
    #expect(Forecast(stages: [stage]).milliseconds(samples: 1, weight: 1) == 1_500)
    // Another tenant gets as much as this one meanwhile, if it has that much.
    stage.others = [(work: 1_000_000, weight: 1)]
    #expect(Forecast(stages: [stage]).milliseconds(samples: 1, weight: 1) == 2_000)
    #expect(Forecast(stages: [stage]).milliseconds(samples: 1, weight: 5) == 1_600)
    stage.others = [(work: 30, weight: 1)]
    #expect(Forecast(stages: [stage]).milliseconds(samples: 1, weight: 1) == 1_530)
  }

  @Test func passTimesFollowTheWorkers() {
    var times = PassTimes()
    let stage = StageKey(pipeline: 0, stage: 1)
    #expect(times.milliseconds(stage) == nil)
    times.add(10, stage, numerics: "cpu")
    #expect(times.milliseconds(stage) == 10)
    for wrong in [0, -1, Double.nan, .infinity] { times.add(wrong, stage, numerics: "cpu") }
    #expect(times.milliseconds(stage) == 10)
    for _ in 0..<50 { times.add(20, stage, numerics: "cpu") }
    times.add(1e300, stage, numerics: "gpu")
    #expect(abs((times.milliseconds(stage, numerics: "cpu") ?? 0) - 20) < 0.01)
    #expect(times.milliseconds(stage, numerics: "gpu") == 3_600_000)
    for numerics in 0..<1_000 { times.add(1, stage, numerics: "\(numerics)") }
    #expect(times.milliseconds(stage, numerics: "999") == nil, "classes that a worker makes up take no memory without end")
  }

  @Test func theBackOffDoublesWithinBoundsAndItsJitterDependsOnTheTask() {
    let task = TaskID(job: JobID(rawValue: 7), sample: 1, stage: 0)
    func delay(_ sample: UInt32, _ failures: UInt32) -> Int64 {
      var task = task
      task.sample = sample
      return BackOff.delay(TaskRef(task, attempt: failures), failures: failures, first: 200, longest: 30_000)
    }
    for failures in 1...40 as ClosedRange<UInt32> {
      let whole = min(30_000, 200 * Int64(1) << Int64(min(failures - 1, 20)))
      #expect((whole / 2...whole).contains(delay(1, failures)), "after \(failures) failures \(delay(1, failures)) ms")
      #expect(delay(1, failures) == delay(1, failures))
    }
    #expect(Set((0..<100).map { delay($0, 3) }).count > 50)
  }
}
