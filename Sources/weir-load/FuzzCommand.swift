import ArgumentParser
import Foundation
import Load

struct FuzzCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fuzz", abstract: "Floods a real broker with damaged messages and looks whether it still works.",
    discussion: """
      Starts a broker and workers with the synthetic engine (weir, weir-broker and weir-worker lie beside this program), and sends both of the \
      broker's ends messages of the corpus with bits, bytes, lengths, fields and frames changed, and now and then a connection whose greeting, \
      handshake or frames are damaged. Meanwhile an honest client's jobs have to be finished, every image as the oracle says; the broker must \
      neither end nor, from \(FuzzRun.leastFramesForGrowth) frames on, have more memory at the end than after half of them. The seed \
      fixes what is sent.

      --broker aims at a broker that runs already, on this machine: one for tests, for damaged submissions ask for work and damaged workers \
      fail it. Without synthetic workers there are no honest jobs.

      Exit status: 0 all of that held, 1 it did not, 2 wrong arguments.
      """)

  @Option(help: "How many frames to send.")
  var frames = 1_000_000

  @Option(help: "What is random comes from it. (default: a random one)")
  var seed: UInt64?

  @Option(help: "Connections at each of the broker's two ends.")
  var connections = 4

  @Option(help: ArgumentHelp("A broker that runs already. Goes with --pid, and without keys.", valueName: "endpoint"))
  var broker: String?

  @Option(help: "Its process.")
  var pid: Int32?

  @Option(help: ArgumentHelp("Real messages to start from.", valueName: "folder"))
  var corpus = "Tests/LoadTests/Corpus"

  @Option(
    help: ArgumentHelp("Instead of all that, run a small fleet, and write what its parts say to each other there.", valueName: "folder"))
  var record: String?

  @Flag(help: "Show on standard error what the processes say.")
  var verbose = false

  func validate() throws {
    guard frames >= FuzzRun.parts else { throw ValidationError("--frames \(frames): give at least \(FuzzRun.parts).") }
    guard (broker == nil) == (pid == nil) else {
      throw ValidationError("--broker and --pid go together: where it listens, and its process.")
    }
    guard (1...100).contains(connections) else { throw ValidationError("--connections \(connections): give 1 to 100.") }
  }

  func run() async throws {
    if let record { return try await Recording.record().write(to: record) }
    let seed = seed ?? .random(in: 0..<1 << 32)
    let isVerbose = verbose
    var target = FuzzRun.Broker.own(executables: try ProgramFolder.path())
    if let broker, let pid { target = .running(endpoint: broker, pid: pid) }
    let fuzz = FuzzRun(
      .init(broker: target, corpus: try Corpus(folder: corpus), frames: frames, seed: seed, connections: connections)
    ) { line in
      if isVerbose { FileHandle.standardError.write(Data((line + "\n").utf8)) }
    }
    let verdict = await fuzz.run()
    func list(_ values: [Double]) -> String { values.map { String(format: "%.0f", $0) }.joined(separator: " ") }
    let memory = list(verdict.residentMiB)
    let settled = list(verdict.settledMiB)
    print(
      """
      \(verdict.failure == nil ? "held" : "BROKEN") seed=\(seed) frames=\(verdict.frames) messages=\(verdict.messages) \
      raw_connections=\(verdict.rawConnections) seconds=\(Int(verdict.seconds)) honest_images=\(verdict.honestImages) broker_mib=[\(memory)] settled_mib=[\(settled)] growth=\(String(format: "%+.1f%%", verdict.growth * 100)) \(verdict.failure ?? "")
      """)
    if verdict.failure != nil { throw ExitCode(1) }
  }
}
