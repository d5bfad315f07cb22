import Foundation
import Glibc
import Synchronization
import Training

/// The processes of a training run on this machine beside this one, which is the first: the same program with the same arguments, each of its own rank.
///
/// Once all have met, the end of this process, whatever it is, closes its connections, and they end too.
final class OtherRanks: Sendable {
  /// This process's.
  let place: ProcessPlace
  private let processes: Mutex<[Process]>
  /// One that ends would go unnoticed.
  private let isWatching = Atomic<Bool>(true)

  /// Starts them.
  ///
  /// - Parameters:
  ///   - world: how many train together, with this one.
  ///   - arguments: this program's, without those that say how many processes there are.
  init(world: Int, arguments: [String]) throws {
    let master = try ProcessPlace.masterOnThisMachine()
    place = try ProcessPlace(rank: 0, world: world, master: master)
    processes = Mutex([])
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    for rank in 1..<world {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: program)
      process.arguments = arguments + ["--rank", "\(rank)", "--world", "\(world)", "--master", master]
      process.terminationHandler = { [weak self] in self?.ended(rank, status: $0.terminationStatus) }
      do {
        try process.run()
      } catch {
        stop()
        throw TrainingError(.processes, "the process of rank \(rank) cannot be started: \(error.localizedDescription)")
      }
      processes.withLock { $0.append(process) }
    }
  }

  /// All are connected: whatever ends one of them now, the others notice.
  func met() { isWatching.store(false, ordering: .relaxed) }

  /// Waits for their ends.
  func wait() throws {
    for (index, process) in processes.withLock({ $0 }).enumerated() {
      process.waitUntilExit()
      let status = process.terminationStatus
      guard status == 0 else { throw TrainingError(.processes, Self.ending(of: index + 1, status)) }
    }
  }

  /// Ends them. Only the first of a run's processes writes files, so nothing is lost.
  func stop() {
    isWatching.store(false, ordering: .relaxed)
    for process in processes.withLock({ $0 }) where process.isRunning { kill(process.processIdentifier, SIGKILL) }
  }

  /// The others would wait for it until their patience ends.
  private func ended(_ rank: Int, status: Int32) {
    guard isWatching.exchange(false, ordering: .relaxed) else { return }
    FileHandle.standardError.write(Data("Error: \(Self.ending(of: rank, status))\n".utf8))
    stop()
    // The numerics library is at work on another thread, and nothing is written yet.
    _exit(1)
  }

  private static func ending(of rank: Int, _ status: Int32) -> String {
    "the process of rank \(rank) ended with status \(status); what it said is above"
  }
}
