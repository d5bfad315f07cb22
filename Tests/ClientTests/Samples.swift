import Client
import Wire

/// Patience for tests: resends come soon, and failures that are meant to come don't take long.
let hasty = WeirClient.Options(
  resendAfter: .milliseconds(50), patience: .milliseconds(400), waitPatience: .seconds(30), watchSilence: .milliseconds(50))
/// Nothing is sent twice unless a test waits half a minute.
let calm = WeirClient.Options(
  resendAfter: .seconds(30), patience: .seconds(60), waitPatience: .seconds(60), watchSilence: .seconds(30))
/// Sends again soon, gives up late.
let stubborn = WeirClient.Options(
  resendAfter: .milliseconds(50), patience: .seconds(60), waitPatience: .seconds(60), watchSilence: .milliseconds(50))

let clay = Submission(runs: [SampleRun(label: "clay", seed: 7, count: 2)])

func status(
  _ job: JobID = JobID(rawValue: 7), _ state: JobState = .running, done: UInt32 = 0, steps: UInt64 = 0, samples: UInt32 = 2
) -> JobStatus {
  JobStatus(
    job: job, state: state, pipeline: "avatars", digest: [UInt8](repeating: 0xAB, count: 32), samples: samples,
    stages: [
      StageStatus(stage: "base32", done: samples, stepsDone: 20 * UInt64(samples), stepsTotal: 20 * UInt64(samples)),
      StageStatus(
        stage: "sr64", queued: 0, running: samples - done, done: done, stepsDone: steps, stepsTotal: 10 * UInt64(samples)),
    ], submittedUnixMilliseconds: 1_000_000)
}

func image(_ job: JobID, _ sample: UInt32) throws -> FinishedImage {
  let tensor = try WireTensor(
    name: "x0", floats: (0..<48).map { Float($0) / 24 - 1 + Float(sample) / 1000 }, shape: [3, 4, 4])
  return FinishedImage(
    job: job, sample: sample, label: 3, seed: 7 + UInt64(sample), digest: tensor.digest, numerics: "test", tensor: tensor)
}
