import Wire

/// The workers of one process, each of a stage. They compute by turns, so that what one holds keeps the others' tasks waiting.
final class Crew {
  struct Key: Hashable {
    let name: String
    let host: String
    let pid: UInt32

    init(_ hello: WorkerHello) {
      name = hello.name
      host = hello.host
      pid = hello.pid
    }
  }

  private(set) var workers: [Worker] = []

  /// A process serves each stage of one pipeline once. Others that call themselves the same are other processes.
  func mayHave(_ worker: Worker) -> Bool {
    workers.allSatisfy { $0.stage.pipeline == worker.stage.pipeline && $0.stage != worker.stage }
  }

  func add(_ worker: Worker) { workers.append(worker) }

  func remove(_ worker: Worker) { workers.removeAll { $0 === worker } }
}
