import Broker
import Foundation
import Testing
import Wire

@testable import Load

@Suite struct JobMixTests {
  private func decode(_ text: String) throws -> JobMix { try JSONDecoder().decode(JobMix.self, from: Data(text.utf8)) }

  @Test func aMixIsAFile() throws {
    let mix = try decode(
      """
      {"jobs": [{"name": "a", "weight": 2.5, "label": "clay", "count": 4, "tenant": "t", "priority": "high", "deadline": 1.5,
      "steps": {"sr64": 3, "base32": 9}, "hold_after": "base32", "keep": 2}, {}]}
      """)
    #expect(mix.kinds.count == 2 && mix.kinds[1] == JobMix.Kind())
    let job = mix.submission(ofJob: 1, kind: 0, seed: 1, labels: 12)
    #expect(job.runs.map(\.label) == ["clay"] && job.runs[0].count == 4 && job.tenant == "t" && job.priority == .high)
    #expect(job.deadlineMilliseconds == 1_500 && job.holdAfter == "base32")
    #expect(job.options == [StageOptions(stage: "base32", steps: 9), StageOptions(stage: "sr64", steps: 3)])
  }

  @Test(arguments: [
    ("{}", "jobs"), ("{\"jobs\": []}", "at least one"), ("{\"jobs\": [{\"cuont\": 3}]}", "cuont"),
    ("{\"jobs\": [{\"weight\": 0}]}", "weight"),
    ("{\"jobs\": [{\"priority\": \"urgent\"}]}", "urgent"), ("{\"jobs\": [{\"count\": 0}]}", "count"),
    ("{\"jobs\": [{\"keep\": 2}]}", "keep"), ("{\"jobs\": [{\"deadline\": -1}]}", "deadline"), ("{\"jobs\": [{}], \"x\": 1}", "x"),
    ("[", "JSON"),
  ]) func mistakesAreNamed(_ text: String, _ word: String) {
    #expect { try decode(text) } throws: { "\($0)".contains(word) }
  }

  @Test func tracesAreReadAsTheyAreWritten() throws {
    let text = ArrivalTrace.header + "\n0.0,a,clay,3,high,2.5\n0.0,,,1,normal,\n1.25,b,7,2,low,\n"
    let trace = try ArrivalTrace(csv: text)
    #expect(trace.entries.map(\.time) == [0, 0, 1.25] && trace.entries[1].kind.label == nil && trace.entries[0].kind.deadline == 2.5)
    #expect(try ArrivalTrace(csv: trace.csv) == trace)
    let (mix, pattern) = trace.load
    guard case .trace(let arrivals) = pattern else { throw Broken("\(pattern) is no trace") }
    #expect(mix.kinds.count == 3 && arrivals.map(\.kind) == [0, 1, 2])
  }

  @Test(arguments: [
    "", "time,tenant", ArrivalTrace.header, ArrivalTrace.header + "\n1,a,b,1,high", ArrivalTrace.header + "\n2,a,b,1,high,\n1,a,b,1,high,",
    ArrivalTrace.header + "\n0,a,b,0,high,", ArrivalTrace.header + "\n0,a,b,1,higher,", ArrivalTrace.header + "\n0,a,b,1,low,-2",
  ]) func brokenTracesAreRefused(_ text: String) {
    #expect(throws: Broken.self) { try ArrivalTrace(csv: text) }
  }

  @Test func aJournalBecomesATrace() throws {
    func job(_ id: UInt64, at time: UInt64, _ labels: [UInt32], _ terms: JobTerms) -> JobSnapshot {
      let record = JobRecord(
        id: JobID(rawValue: id), sequence: id, pipeline: [], key: "", options: [], truncated: false, submittedUnixMilliseconds: time,
        samples: labels.enumerated().map { SampleSeed(label: $1, seed: UInt64($0)) }, terms: terms)
      return JobSnapshot(record: record, samples: labels.map { _ in SampleSnapshot() })
    }
    let trace = try ArrivalTrace(
      Snapshot(jobs: [
        job(2, at: 5_500, [4, 4, 9], JobTerms(tenant: "b", priority: .low)),
        job(1, at: 5_000, [1], JobTerms(tenant: "a", deadlineUnixMilliseconds: 7_000)),
      ]))
    #expect(trace.csv == ArrivalTrace.header + "\n0.0,a,1,1,normal,2.0\n0.5,b,4,2,low,\n0.5,b,9,1,low,\n")
    #expect(throws: Broken.self) { try ArrivalTrace(Snapshot()) }
  }
}
