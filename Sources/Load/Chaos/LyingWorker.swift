import Glibc
import Logging
package import Wire
package import Worker
import ZeroMQ

/// Computes as the synthetic engine does, and now and then gives back what it did not compute: for a fleet that has to find that out.
package final class LyingEngine: Engine {
  package enum Lie: String, CaseIterable, Sendable {
    /// Every result has a wrong bit.
    case always
    /// Those of samples that were not alone in the batch have.
    case inCompany = "in-company"
    /// One of so many has.
    case sometimes
    case never
  }

  private final class Run: TaskRun {
    let honest: any TaskRun
    var isFalse: Bool

    init(_ honest: any TaskRun, isFalse: Bool) {
      self.honest = honest
      self.isFalse = isFalse
    }

    var step: Int { honest.step }
    var steps: Int { honest.steps }
    var passes: Int { honest.passes }

    func checkpoint() throws -> TaskCheckpoint { try honest.checkpoint() }

    func result() throws -> WireTensor {
      let tensor = try honest.result()
      if !isFalse { return tensor }
      var bytes = tensor.data.bytes
      bytes[bytes.count / 2] ^= 1
      return try WireTensor(name: tensor.name, dtype: tensor.dtype, shape: tensor.shape, data: Frame(bytes))
    }
  }

  private let honest: SyntheticEngine
  private let lie: Lie
  private let oneIn: Int
  private var begun = 0

  /// - Parameter oneIn: of so many results one is false, if it lies sometimes.
  package init(stage: String, stepMilliseconds: Double, lie: Lie, oneIn: Int = 1_000) throws(EngineError) {
    honest = try SyntheticEngine(stage: stage, stepMilliseconds: stepMilliseconds)
    self.lie = lie
    self.oneIn = oneIn
  }

  package var info: EngineInfo { honest.info }

  package func begin(_ assignment: Assignment) throws -> any TaskRun {
    begun += 1
    return Run(try honest.begin(assignment), isFalse: lie == .always || lie == .sometimes && begun.isMultiple(of: oneIn))
  }

  package func advance(_ runs: [any TaskRun]) throws {
    let runs = runs.compactMap { $0 as? Run }
    try honest.advance(runs.map(\.honest))
    if lie == .inCompany, runs.count > 1 { for run in runs { run.isFalse = true } }
  }
}

/// A worker of the synthetic engine, without LibTorch, that may lie. It goes by the flags of `weir-worker`.
package enum LyingWorker {
  package static func run(
    _ lie: LyingEngine.Lie, oneIn: Int, stage: String, broker: BrokerEndpoint, name: String, stepMilliseconds: Double, slots: Int
  ) async throws {
    let service = try await WorkerService.make(
      settings: .init(broker: broker, name: name, host: "localhost", pid: UInt32(clamping: getpid()), slots: slots),
      logger: Logger(label: "weir-load") { _ in SwiftLogNoOpLogHandler() },
      makeEngine: { try LyingEngine(stage: stage, stepMilliseconds: stepMilliseconds, lie: lie, oneIn: oneIn) },
      onReady: { info in
        print("ready stage=\(info.stageName) pipeline=\(info.pipelineName) numerics=\(info.numerics)")
        fflush(nil)
      })
    try await service.run()
  }
}
