import ArgumentParser
import Foundation
import Load

struct ChaosCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "chaos", abstract: "Mistreats a fleet of real processes and looks whether it keeps its promises.",
    discussion: """
      Each scenario starts a broker and workers with the synthetic engine (weir, weir-broker and weir-worker lie beside this program), in \
      a folder of its own, and prints its verdict. Every image is compared with the oracle's, byte for byte. The seed fixes what is done to \
      whom and after how long; what that meets is up to the machine.

      \(ChaosScenario.allCases.map { "  \($0.rawValue): \($0.summary)" }.joined(separator: "\n"))

      With --engine cascade the networks of --pipeline compute, in these: \
      \(ChaosScenario.allCases.filter(\.isForNetworks).map(\.rawValue).joined(separator: ", ")). Then every image is compared with the one that the \
      fleet made of that sample alone, before anything was done to it.

      Exit status: 0 every promise was kept, 1 one was not, 2 wrong arguments.
      """)

  enum EngineKind: String, ExpressibleByArgument, CaseIterable { case synthetic, cascade }

  @Option(help: "A scenario's name, or all.")
  var scenario: String

  @Option(help: "What computes: a hash chain, or a pipeline's networks.")
  var engine = EngineKind.synthetic

  @Option(help: ArgumentHelp("With --engine cascade: the folder with cascade.json and its weights.", valueName: "folder"))
  var pipeline: String?

  @Option(help: "What is random comes from it. (default: a random one)")
  var seed: UInt64?

  @Option(help: "How many signals the scenario kills sends.")
  var kills = 1_000

  @Option(help: "How often the scenarios strike that do so again and again.")
  var rounds = 42

  @Option(help: ArgumentHelp("Write the verdicts there as JSON.", valueName: "file"))
  var json: String?

  @Flag(help: "Show on standard error what the processes say.")
  var verbose = false

  func validate() throws {
    guard scenario == "all" || ChaosScenario(rawValue: scenario) != nil else {
      let known = ChaosScenario.allCases.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("--scenario \(scenario): there is no such scenario; there are \(known), and all.")
    }
    guard (engine == .cascade) == (pipeline != nil) else {
      throw ValidationError("--engine cascade and --pipeline go together: name the folder that holds cascade.json.")
    }
    if engine == .cascade, let chosen = ChaosScenario(rawValue: scenario), !chosen.isForNetworks {
      let known = ChaosScenario.allCases.filter(\.isForNetworks).map(\.rawValue).joined(separator: ", ")
      throw ValidationError("--scenario \(scenario) runs with the synthetic engine only; with cascade run \(known), and all.")
    }
    guard kills >= 1 else { throw ValidationError("--kills \(kills): give at least 1.") }
    guard rounds >= 1 else { throw ValidationError("--rounds \(rounds): give at least 1.") }
  }

  func run() async throws {
    let seed = seed ?? .random(in: 0..<1 << 32)
    let isVerbose = verbose
    let chaos = Chaos(
      .init(
        executables: try ProgramFolder.path(),
        engine: pipeline.map { .cascade(pipeline: $0) } ?? .synthetic, seed: seed, kills: kills, rounds: rounds
      ) { line in
        if isVerbose { FileHandle.standardError.write(Data((line + "\n").utf8)) }
      })
    var verdicts: [ChaosVerdict] = []
    let possible = ChaosScenario.allCases.filter { engine == .synthetic || $0.isForNetworks }
    for scenario in possible where self.scenario == "all" || scenario.rawValue == self.scenario {
      let verdict = await chaos.run(scenario)
      verdicts.append(verdict)
      print(verdict.line)
      fflush(nil)
    }
    if let json {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
      try encoder.encode(verdicts).write(to: URL(fileURLWithPath: json))
    }
    if verdicts.contains(where: { !$0.passed }) { throw ExitCode(1) }
  }
}

extension ChaosVerdict {
  fileprivate var line: String {
    let counts = figures.sorted { $0.key < $1.key }.map { "\($0.key)=\(($0.value * 100).rounded() / 100)" }.joined(separator: " ")
    return "\(passed ? "kept" : "BROKEN") \(scenario) engine=\(engine) seed=\(seed) \(seconds) s \(reason ?? counts)"
  }
}
