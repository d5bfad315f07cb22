import Wire

/// Predictions. There are none before every stage has workers and was measured.
extension BrokerCore {
  func weight(of tenant: String) -> Double { limits.weights[tenant] ?? 1 }

  /// Milliseconds of one worker that a sample's steps from `step` of `stage` to the end of the pipeline take.
  func predictedWork(_ job: Job, stage: Int, step: UInt32) -> Double? {
    var total = 0.0
    for index in stage..<job.stageCount {
      guard let milliseconds = passTimes.milliseconds(StageKey(pipeline: job.pipeline, stage: index)) else { return nil }
      total += milliseconds * Double(job.passes(ofStage: index, after: index == stage ? step : 0))
    }
    return total
  }

  /// What a task is charged, in passes through the network: turns are taken stage by stage, and a pass of a stage takes as long for one tenant as
  /// for another. The measured time of a pass would only add its noise, which is not the same for long tasks and short ones.
  func cost(of job: Job, _ stage: StageKey, resuming step: UInt32) -> Double {
    Double(job.passes(ofStage: stage.stage, after: step))
  }

  /// When a job that is not in the backlog yet would be done, in milliseconds from now.
  func predictedDuration(_ pipeline: PipelineTable.Key, _ options: [StageOptions], samples: Int, _ share: Share, deadline: Int64) -> Double?
  {
    let rivals = deadlines.jobs(of: share, until: deadline).compactMap { jobs[$0] }.filter { $0.pipeline == pipeline }
    var forecast = Forecast(stages: [])
    for (index, option) in options.enumerated() {
      let key = StageKey(pipeline: pipeline, stage: index)
      guard let milliseconds = passTimes.milliseconds(key), workers.count(key) > 0 else { return nil }
      var stage = Forecast.Stage(workers: workers.count(key), sample: Double(option.passes) * milliseconds)
      for (other, work) in jobs.backlog.shares(key) {
        let work = Double(work.passes) * milliseconds
        if other.priority > share.priority {
          stage.higher += work
        } else if other.priority == share.priority, other.tenant != share.tenant {
          stage.others.append((work, weight(of: other.tenant)))
        }
      }
      stage.own = rivals.reduce(0) { $0 + Double($1.work(inStage: index).passes) } * milliseconds
      forecast.stages.append(stage)
    }
    return forecast.milliseconds(samples: samples, weight: weight(of: share.tenant))
  }

  /// Milliseconds until this part of a pipeline's open tasks is done: what a client is asked to wait that found no room.
  func retryAfter(_ pipeline: PipelineTable.Key, tasks: Int, of open: Int) -> UInt32 {
    var drain = 0.0
    for index in pipelines[pipeline]?.info.stages.indices ?? 0..<0 {
      let key = StageKey(pipeline: pipeline, stage: index)
      guard let milliseconds = passTimes.milliseconds(key), workers.count(key) > 0 else { return limits.retryMilliseconds }
      drain = max(drain, Double(jobs.backlog[key].passes) * milliseconds / Double(workers.count(key)))
    }
    let part = drain * Double(min(tasks, open)) / Double(max(open, 1))
    return UInt32(min(max(part, Double(limits.retryMilliseconds)), 600_000))
  }
}
