import Digests
import Foundation
import GRDB
import Wire
import ZeroMQ

/// Reads a journal's rows without believing them: a row that can't be is damage.
struct JournalReader {
  let path: String

  func snapshot(_ db: Database) throws -> Snapshot {
    var snapshot = Snapshot()
    for row in try Row.fetchAll(db, sql: "SELECT digest, name, labels, stages FROM pipeline ORDER BY rowid") {
      snapshot.pipelines.append(try pipeline(row))
    }
    let stageCounts = Dictionary(
      snapshot.pipelines.map { ($0.digest, $0.stages.count) }, uniquingKeysWith: { first, _ in first })
    var samples = try samples(db)
    for row in try Row.fetchAll(db, sql: "SELECT * FROM job ORDER BY sequence") {
      let (seeds, states) = samples.removeValue(forKey: JobID(rawValue: UInt64(journalValue: try value(row, "id")))) ?? ([], [])
      snapshot.jobs.append(try job(row, seeds, states, stageCounts))
    }
    guard samples.isEmpty else { throw damage("has samples without a job") }
    return snapshot
  }

  func tensor(_ row: Row) throws -> WireTensor {
    let name: String = try value(row, "name")
    let sizes = (try value(row, "shape") as String).split(separator: ",").map { UInt32($0) }
    let shape = sizes.compactMap { $0 }
    guard let dtype = WireTensor.DType(journalCode: try value(row, "dtype")), shape.count == sizes.count else {
      throw damage("has a tensor of unknown type or shape")
    }
    let data = try row.withUnsafeData(named: "data") { data in
      data.map { data in data.withUnsafeBytes { Frame(copying: $0) } }
    }
    guard let data, try data.withUnsafeBytes({ sha256($0) }) == Array(value(row, "digest") as Data) else {
      throw damage("has a tensor '\(name)' that does not fit its digest")
    }
    do throws(WireError) {
      return try WireTensor(name: name, dtype: dtype, shape: shape, data: data)
    } catch {
      throw damage("has a bad tensor: \(error)")
    }
  }

  private func pipeline(_ row: Row) throws -> PipelineInfo {
    let info = PipelineInfo(
      name: try value(row, "name"), digest: Array(try value(row, "digest") as Data), labels: try json([String].self, row, "labels"),
      stages: try json([StageRow].self, row, "stages").map(\.value))
    if let fault = PipelineTable.fault(in: info) { throw damage("has a bad pipeline: \(fault)") }
    return info
  }

  private typealias Samples = [JobID: (seeds: [SampleSeed], states: [SampleSnapshot])]

  private func samples(_ db: Database) throws -> Samples {
    var samples: Samples = [:]
    var numerics: Set<String> = []
    // A few strings, that many samples share.
    func shared(_ text: String) -> String { numerics.insert(text).memberAfterInsert }

    let rows = try Row.fetchCursor(db, sql: "SELECT * FROM sample ORDER BY job, number")
    while let row = try rows.next() {
      let job = JobID(rawValue: UInt64(journalValue: try value(row, "job")))
      guard try value(row, "number") == samples[job]?.seeds.count ?? 0 else { throw damage("lacks a sample of job \(job)") }
      var state = SampleSnapshot(
        attempt: try value(row, "attempt"), failures: try value(row, "failures"), isLeased: try value(row, "leased"), error: row["error"])
      if row["checkpoint_step"] != nil {
        state.checkpoint = CheckpointRecord(
          step: try value(row, "checkpoint_step"), numerics: shared(try value(row, "checkpoint_numerics")),
          bytes: UInt64(journalValue: try value(row, "checkpoint_bytes")))
      }
      samples[job, default: ([], [])].seeds.append(
        SampleSeed(label: try value(row, "label"), seed: UInt64(journalValue: try value(row, "seed"))))
      samples[job, default: ([], [])].states.append(state)
    }

    let outcomes = try Row.fetchCursor(db, sql: "SELECT * FROM outcome ORDER BY job, sample, stage")
    while let row = try outcomes.next() {
      let job = JobID(rawValue: UInt64(journalValue: try value(row, "job")))
      let sample: Int = try value(row, "sample")
      let count = samples[job]?.states.count ?? 0
      guard sample >= 0, sample < count, try value(row, "stage") == samples[job]?.states[sample].outcomes.count,
        let digest = ContentDigest(try value(row, "digest") as Data)
      else { throw damage("has a stage's end without its sample") }
      samples[job]?.states[sample].outcomes.append(
        StageOutcome(
          digest: digest, numerics: shared(try value(row, "numerics")), bytes: UInt64(journalValue: try value(row, "bytes"))))
    }
    return samples
  }

  private func job(_ row: Row, _ seeds: [SampleSeed], _ states: [SampleSnapshot], _ stageCounts: [[UInt8]: Int]) throws -> JobSnapshot {
    let record = JobRecord(
      id: JobID(rawValue: UInt64(journalValue: try value(row, "id"))), sequence: UInt64(journalValue: try value(row, "sequence")),
      pipeline: Array(try value(row, "pipeline") as Data), key: try value(row, "key"),
      options: try json([OptionsRow].self, row, "options").map(\.value), truncated: try value(row, "truncated"),
      submittedUnixMilliseconds: UInt64(journalValue: try value(row, "submitted")), samples: seeds)
    guard !seeds.isEmpty, let stages = stageCounts[record.pipeline], record.options.count == stages,
      states.allSatisfy({ $0.outcomes.count <= stages })
    else { throw damage("has job \(record.id) without its samples, or not as its pipeline says") }
    var ending: JobEnding?
    if let code: Int = row["state"] {
      guard let state = JobState(journalCode: code) else { throw damage("has job \(record.id) in the unknown state \(code)") }
      ending = JobEnding(state: state, unixMilliseconds: UInt64(journalValue: try value(row, "finished")))
    }
    return JobSnapshot(record: record, samples: states, ending: ending)
  }

  private func value<Value: DatabaseValueConvertible>(_ row: Row, _ column: String) throws -> Value {
    guard let stored: DatabaseValue = row[column], let value = Value.fromDatabaseValue(stored) else {
      throw damage("has a bad value in column \(column)")
    }
    return value
  }

  private func json<Value: Decodable>(_ type: Value.Type, _ row: Row, _ column: String) throws -> Value {
    do { return try journalValue(type, try value(row, column)) } catch { throw damage("has a bad value in column \(column)") }
  }

  private func damage(_ what: String) -> JournalError {
    JournalError(.damaged, "journal \(path) \(what); \(JournalError.adviceOnDamage)")
  }
}
