import Wire

/// All that a core remembers, and how much of it at most. Peers decide what is put into these tables, so each needs a bound, and somebody who
/// takes out what is not needed any more:
///
/// | table | what it holds | bound | what goes, and when |
/// |---|---|---|---|
/// | pipelines | what workers announced | `maxPipelines` | one without jobs and workers, for a new one |
/// | open jobs | jobs and their samples | `maxOpenTasks` in tasks | ended by result, failure, cancellation or deadline |
/// | finished jobs | the same | `keptSamples`, `keptBytes`, age | the oldest, when a job ends and twice a beat |
/// | list of jobs | their order | twice the jobs | forgotten ones, once they are half of it |
/// | keys | idempotency keys | the jobs | with their job |
/// | backlog | work by stage and tenant | stages of open jobs | with the last work |
/// | queues | samples that wait | twice those that do | stale entries, once they are half of a stage's |
/// | stages with queues | turns and debts of tenants | stages of all pipelines | with their pipeline |
/// | full stages | for which enough waits | stages of all pipelines | once half of it is left; with their pipeline |
/// | debts | what idle tenants had too much, by stage and class | `FairShare.maxDebts` | time pays them; of too many the smallest |
/// | leases | tasks in workers' hands | open samples, and trials | result, failure, loss or stall of the worker |
/// | workers | who said hello | `maxWorkers` | goodbye, silence, a connection that is gone |
/// | crews | the workers of each process | the workers | with their last worker |
/// | watches | who is told of which job | `maxWatches`, `maxWatchesPerClient` | the job's end; who is gone, when something is sent |
/// | pass times | averages by stage and class | stages of all pipelines | with their pipeline |
/// | back-off | failed tasks, until their next try | twice the open tasks | when due; stale entries, once they are half of it |
/// | deadlines | when open jobs have to be done | twice those that have one | when due; stale entries, once they are half of it |
/// | makers | who made which result | `Quarantine.limit` | the oldest |
/// | disputes | tasks with two results | `Quarantine.limit` | trial, or with their job |
/// | quarantine | workers that compute wrongly | `maxQuarantined` | the oldest |
/// | blame | tasks that lost workers had | `maxBlamedTasks` | the worker's return, ten minutes, the oldest |
/// | refusals | kinds that were logged | `RefusalLog.maxKinds` | all of them |
extension BrokerCore {
  package struct Table: Hashable, Sendable {
    package var name: String
    package var count: Int
    package var bound: Int
  }

  /// Those whose bounds follow from limits, or from other tables. Of leases and open tasks the audit knows more.
  package var tables: [Table] {
    let stages = limits.maxPipelines * PipelineTable.maxStages
    let waiting = pipelines.keys.flatMap { key in
      (0..<PipelineTable.maxStages).map { StageQueues.bound(waiting: jobs.backlog[StageKey(pipeline: key, stage: $0)].waiting) }
    }
    return [
      Table(name: "pipelines", count: pipelines.count, bound: limits.maxPipelines),
      // One job may be larger than all that is kept.
      Table(
        name: "samples of finished jobs", count: jobs.finishedSamples, bound: max(limits.keptSamples, Int(limits.maxSamplesPerJob))),
      Table(name: "list of jobs", count: jobs.listed, bound: 2 * jobs.count + 64),
      Table(name: "keys", count: jobs.keyCount, bound: jobs.count),
      Table(name: "stages with work", count: jobs.backlog.count, bound: stages),
      Table(name: "queues", count: queues.count, bound: waiting.reduce(0, +)),
      Table(name: "stages with queues", count: queues.stageCount, bound: stages),
      Table(name: "full stages", count: fullStages.count, bound: stages),
      Table(name: "debts", count: queues.mostDebts, bound: FairShare.maxDebts),
      Table(name: "workers", count: workers.count, bound: limits.maxWorkers),
      Table(name: "crews", count: workers.crewCount, bound: workers.count),
      Table(name: "watches", count: watches.count, bound: limits.maxWatches),
      Table(name: "pass times", count: passTimes.count, bound: stages),
      // Half of what was allowed when it grew may be left when tasks end.
      Table(name: "back-off", count: backOff.count, bound: BackOff.bound(openTasks: limits.maxOpenTasks)),
      Table(name: "deadlines", count: deadlines.count, bound: deadlines.bound),
      Table(name: "makers", count: quarantine.makerCount, bound: Quarantine.limit),
      Table(name: "disputes", count: quarantine.disputes.count, bound: Quarantine.limit),
      Table(name: "quarantine", count: quarantine.reasons.count, bound: limits.maxQuarantined),
      Table(name: "blame", count: blame.count, bound: limits.maxBlamedTasks),
      Table(name: "refusals", count: refusals.kinds, bound: RefusalLog.maxKinds),
    ]
  }
}
