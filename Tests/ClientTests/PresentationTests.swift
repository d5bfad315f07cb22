import Testing
import Wire
import weir

@Suite struct PresentationTests {
  let plain = ProgressText(width: 60, color: false, unicode: false)

  @Test func bars() {
    let lines = plain.bars(status(done: 1, steps: 10), seconds: 75)
    #expect(
      lines == [
        "job 0000000000000007  running  2 samples, 1 done  1:15",
        "base32 ########################################### 2/2 100%",
        "sr64   #####################---------------------- 1/2  50%",
      ])
    #expect(lines.dropFirst().allSatisfy { $0.count < 60 })
  }

  @Test func barsInAnyWidth() {
    for width in 0..<200 {
      let lines = ProgressText(width: width, color: false, unicode: true).bars(status(done: 1, steps: 10), seconds: 7)
      #expect(lines.count == 3)
      #expect(lines.allSatisfy { $0.count <= width }, "width \(width): \(lines)")
    }
  }

  @Test func colour() {
    let lines = ProgressText(width: 60, color: true, unicode: true).bars(status(done: 1, steps: 10), seconds: 7)
    #expect(lines[1].contains("\u{1B}[32m") && lines[2].contains("\u{1B}[36m") && lines[1].hasSuffix("100%"))
    #expect(!plain.bars(status(), seconds: 7).joined().contains("\u{1B}"))
  }

  @Test func percentIsNeverTooMuch() {
    var almost = status(done: 1, steps: 19)
    #expect(plain.bars(almost, seconds: 0)[2].hasSuffix(" 95%"))
    almost.stages[1].stepsDone = 9999
    almost.stages[1].stepsTotal = 10000
    #expect(plain.bars(almost, seconds: 0)[2].hasSuffix(" 99%"))
    // A broker may say anything.
    almost.stages[1].stepsDone = .max
    #expect(plain.bars(almost, seconds: 0)[2].hasSuffix("100%"))
    almost.stages[1].stepsTotal = 0
    #expect(plain.bars(almost, seconds: 0)[2].hasSuffix("  0%"))
  }

  @Test func aLineForLogs() {
    var job = status(done: 1, steps: 10)
    job.stages[0].failed = 1
    #expect(
      ProgressText.line(job, seconds: 3725)
        == "job 0000000000000007  running  2 samples, 1 done, 1 failed  1:02:05 | base32 2/2 (1 failed) 100% | sr64 1/2 (1 running) 50%")
  }

  @Test func namesFromOutsideCannotDriveTheTerminal() {
    var job = status()
    job.stages[0].stage = "a\u{1B}[2Jb\n"
    #expect(plain.bars(job, seconds: 0)[1].hasPrefix("a?[2Jb?"))
    #expect(!ProgressText.line(job, seconds: 0).contains("\u{1B}"))
  }

  @Test func listOfJobs() {
    var old = status(JobID(rawValue: 6), .done, done: 2, steps: 20)
    old.finishedUnixMilliseconds = 1_012_000
    #expect(
      StatusText.list([status(done: 1, steps: 15), old], now: 1_090_000) == [
        "JOB               STATE    DONE  STAGES                 PIPELINE  TIME",
        "0000000000000007  running   1/2  base32 100% sr64 75%   avatars   1:30",
        "0000000000000006  done      2/2  base32 100% sr64 100%  avatars   0:12",
      ])
    #expect(StatusText.list([], now: 0) == ["no jobs"])
  }

  @Test func oneJob() {
    var job = status(.init(rawValue: 7), .failed, done: 1, steps: 15)
    job.options = [StageOptions(stage: "sr64", steps: 10, sampler: "ddim", eta: 0.5, aug: 100)]
    job.labels = ["clay", "moss"]
    job.details = [
      SampleStatus(index: 0, label: 0, seed: 7, stage: nil, state: .done, attempts: 0),
      SampleStatus(index: 1, label: 1, seed: 8, stage: "sr64", state: .failed, attempts: 5, error: "out of\nmemory"),
    ]
    let lines = StatusText.job(job, now: 1_000_000)
    #expect(lines.contains { $0.contains("ddim eta=0.5 aug=100") && $0.contains("15/20") })
    #expect(lines.last == "            1  moss      8  sr64          5  out of?memory")
  }

  @Test func tableOfWorkers() {
    let worker = WorkerStatus(
      name: "sr64-1", stage: "sr64", pipeline: "avatars", digest: [], numerics: "cpu", slots: 4, running: 2, finished: 17,
      stepMilliseconds: 12.34, silentMilliseconds: 250, host: "here", pid: 99)
    #expect(
      StatusText.workers([worker]) == [
        "WORKER  STAGE  PIPELINE  BUSY  DONE  STEP MS  SILENT  HOST  PID  NUMERICS",
        "sr64-1  sr64   avatars    2/4    17     12.3    0.3s  here   99  cpu",
      ])
    var odd = worker
    odd.stepMilliseconds = .infinity
    #expect(StatusText.workers([odd])[1].contains("?"))
    #expect(StatusText.workers([]) == ["no workers"])
  }

  @Test func columnsOfAContactSheet() {
    #expect(ContactSheet.columns(labels: [0]) == 1)
    #expect(ContactSheet.columns(labels: Array(0..<12)) == 4)
    #expect(ContactSheet.columns(labels: [0, 0, 0, 1, 1, 1]) == 3)
    #expect(ContactSheet.columns(labels: [0, 0, 1]) == 2)
    #expect(ContactSheet.columns(labels: [UInt32](repeating: 0, count: 10)) == 4)
  }

  @Test func jsonKeysStay() throws {
    var job = status(done: 1, steps: 10)
    job.labels = ["a", "b", "c", "d"]
    job.options = [StageOptions(stage: "sr64", steps: 10, sampler: "ddim", eta: 0.5, aug: 100)]
    job.details = [SampleStatus(index: 1, label: 3, seed: .max, stage: "sr64", state: .failed, attempts: 2, error: "no")]
    let digest = String(repeating: "ab", count: 32)
    #expect(
      try JSONLines.text(of: job)
        == #"{"details":[{"attempts":2,"error":"no","index":1,"label":3,"label_name":"d","seed":18446744073709551615,"stage":"sr64","#
        + #""state":"failed"}],"digest":"\#(digest)","done":1,"job":"0000000000000007","options":[{"aug":100,"eta":0.5,"#
        + #""sampler":"ddim","stage":"sr64","steps":10}],"pipeline":"avatars","priority":"normal","samples":2,"#
        + #""stages":[{"done":2,"failed":0,"held":0,"queued":0,"#
        + #""running":0,"stage":"base32","steps_done":40,"steps_total":40},{"done":1,"failed":0,"held":0,"queued":0,"running":1,"#
        + #""stage":"sr64","#
        + #""steps_done":10,"steps_total":20}],"state":"running","submitted_ms":1000000,"tenant":"default","truncated":false}"#)
  }
}
