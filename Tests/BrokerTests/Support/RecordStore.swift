import Testing
import Wire

@testable import Broker

/// What a journal does, as a model: records go in, a snapshot and tensors come out. It also sees to it that records make sense.
struct RecordStore {
  private(set) var pipelines: [PipelineInfo] = []
  private(set) var jobs: [JobID: JobSnapshot] = [:]
  private(set) var outputs: [TensorKey: WireTensor] = [:]
  private(set) var checkpoints: [TaskID: [WireTensor]] = [:]
  private(set) var stagesDone = 0

  var snapshot: Snapshot {
    Snapshot(pipelines: pipelines, jobs: jobs.values.sorted { $0.record.sequence < $1.record.sequence })
  }

  mutating func apply(_ record: Record) {
    switch record {
    case .pipeline(let info):
      #expect(!pipelines.contains { $0.digest == info.digest })
      pipelines.append(info)
    case .pipelineForgotten(let digest):
      #expect(!jobs.values.contains { $0.record.pipeline == digest })
      pipelines.removeAll { $0.digest == digest }
    case .accepted(let job):
      #expect(jobs[job.id] == nil)
      #expect(job.key.isEmpty || !jobs.values.contains { $0.record.key == job.key }, "one key, two jobs")
      jobs[job.id] = JobSnapshot(record: job, samples: job.samples.map { _ in SampleSnapshot() })
    case .leased(let ref):
      change(ref.task) {
        #expect(ref.attempt >= $0.attempt && ref.attempt <= $0.attempt + 1)
        $0.attempt = ref.attempt
        $0.isLeased = true
      }
    case .released(let task, let failures):
      change(task) {
        $0.failures = failures
        $0.isLeased = false
      }
    case .failuresCounted(let task, let failures):
      change(task) { $0.failures = failures }
    case .checkpoint(let task, let checkpoint, let tensors):
      change(task) {
        #expect($0.isLeased)
        $0.failures = 0
        $0.checkpoint = checkpoint
      }
      checkpoints[task] = tensors
    case .checkpointDropped(let task):
      change(task) { $0.checkpoint = nil }
      checkpoints[task] = nil
    case .stageDone(let task, let outcome, let output):
      change(task) {
        $0.attempt = 0
        $0.failures = 0
        $0.isLeased = false
        $0.checkpoint = nil
        $0.outcomes.append(outcome)
      }
      stagesDone += 1
      drop(task.job, task.sample)
      outputs[TensorKey(job: task.job, sample: task.sample, stage: task.stage)] = output
    case .sampleFailed(let job, let sample, let reason):
      jobs[job]?.samples[Int(sample)].error = reason
      jobs[job]?.samples[Int(sample)].isLeased = false
      jobs[job]?.samples[Int(sample)].checkpoint = nil
      drop(job, sample)
    case .finished(let job, let state, let time):
      #expect(jobs[job] != nil && jobs[job]?.ending == nil, "a job ends once")
      jobs[job]?.ending = JobEnding(state: state, unixMilliseconds: time)
      let last = UInt32((jobs[job]?.record.options.count ?? 0) - 1)
      outputs = outputs.filter { $0.key.job != job || $0.key.stage == last }
      checkpoints = checkpoints.filter { $0.key.job != job }
    case .forgotten(let job):
      #expect(jobs.removeValue(forKey: job)?.ending != nil)
      outputs = outputs.filter { $0.key.job != job }
    }
  }

  /// Changes a sample that is still open and in the task's stage.
  private mutating func change(_ task: TaskID, _ body: (inout SampleSnapshot) -> Void) {
    guard var sample = jobs[task.job]?.samples[Int(task.sample)] else {
      Issue.record("a record of \(task), which is unknown")
      return
    }
    #expect(jobs[task.job]?.ending == nil && sample.error == nil, "a record of \(task), whose job or sample is closed")
    #expect(sample.outcomes.count == Int(task.stage), "a record of \(task), a stage that its sample is not in")
    body(&sample)
    jobs[task.job]?.samples[Int(task.sample)] = sample
  }

  private mutating func drop(_ job: JobID, _ sample: UInt32) {
    for stage in 0..<UInt32(jobs[job]?.record.options.count ?? 0) {
      outputs[TensorKey(job: job, sample: sample, stage: stage)] = nil
      checkpoints[TaskID(job: job, sample: sample, stage: stage)] = nil
    }
  }
}
