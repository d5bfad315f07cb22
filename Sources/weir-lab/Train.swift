import ArgumentParser
import Cascade
import Foundation
import Synchronization
import Tensors
import Training

struct Train: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Train one stage of a pipeline.",
    discussion: """
      DATA holds one folder of PNG files a class, named by the pipeline's labels. The run's folder gets metrics.jsonl, its plots, \
      grid-STEP.png (samples of the averaged weights, one row a class) and checkpoints. SIGINT and SIGTERM stop after the \
      step at hand with a checkpoint; the same command with --resume goes on from there.

      Several processes make one step of as many times the examples: --processes of one machine, or on several machines each started with its \
      --rank. The first one writes the run's folder, from which all of them --resume. Their connections are not encrypted.
      """)

  @Option(help: "The pipeline's folder, with its cascade.json.")
  var pipeline: String

  @Option(help: "The stage to train.")
  var stage: String

  @Option(help: "The training images: DATA/<class>/*.png.")
  var data: String

  @Option(help: "The run's folder (default: runs/<stage>).")
  var out: String?

  @Flag(help: "Go on with the run in the run's folder.")
  var resume = false

  @Flag(name: .customLong("export"), help: "Write the averaged weights to the pipeline's weights file at every checkpoint.")
  var exports = false

  @Option(help: "Stop after this much training time, over all sessions of the run.")
  var maxMinutes: Double?

  @Option(help: "Stop after this many steps, over all sessions of the run.")
  var maxSteps: Int?

  @Option(help: "Examples that go through the network together (default: 32; 16 for a super-resolution stage).")
  var batch: Int?

  @Option(help: "Batches a step: their gradients are added up, as if they were one, in the memory of one.")
  var accumulate = 1

  @Option(name: .customLong("lr"), help: "Learning rate.")
  var learningRate = 4e-4

  @Option(help: "Steps over which the learning rate rises.")
  var warmup = 200

  @Flag(help: "Let the learning rate fall along a half cosine to 5 % at the end of --max-minutes or --max-steps.")
  var decay = false

  @Option(help: "Weight of the old average in the moving average of the weights.")
  var ema = 0.9995

  @Option(help: "Train on random windows of this side (default: the whole image up to 64, windows of 64 above).")
  var crop: Int?

  @Flag(help: "Mirror half of the examples.")
  var flip = false

  @Option(help: "Part of the examples that are trained without their label, for classifier-free guidance.")
  var labelDrop = 0.0

  @Option(
    help: ArgumentHelp("Highest level of noise on low-resolution inputs, up to the stage's max_level, the default.", valueName: "s"))
  var maxLevel: Int?

  @Option(help: "Low-resolution inputs that 'redraw' made of training images, under the same classes and names.")
  var redrawn: String?

  @Option(help: "Part of the examples that are trained with such an input, where there is one.")
  var redrawnPart = 0.5

  @Option(help: "Seed of the weights, the data's order and all noise.")
  var seed: UInt64 = 0

  @Option(help: "Weights to start a new run from.")
  var `init`: String?

  @Option(help: ArgumentHelp("Train in so many processes on this machine, which share its cores.", valueName: "n"))
  var processes = 1

  @Option(help: "Processor threads of a process (default: one a core, divided among --processes).")
  var threads: Int?

  @Option(help: "cpu or cuda:N.")
  var device = "cpu"

  @Option(help: "bf16 or f32, for convolutions (default: the stage's; f32 where the processor lacks bf16). Weights are f32.")
  var dtype: String?

  @Option(help: ArgumentHelp("This process's number, where WORLD train together: 0 to WORLD - 1.", valueName: "r"))
  var rank: Int?

  @Option(help: ArgumentHelp("How many processes train together.", valueName: "n"))
  var world: Int?

  @Option(help: ArgumentHelp("Where the process of rank 0 listens for the others.", valueName: "host:port"))
  var master: String?

  @Option(help: "Steps between two sheets of samples; 0 for none.")
  var sampleEvery = 1000

  @Option(help: "Minutes between two checkpoints.")
  var checkpointMinutes = 10.0

  func validate() throws {
    guard [rank == nil, world == nil, master == nil].allSatisfy({ $0 == (rank == nil) }) else {
      throw ValidationError("several processes: give each of them --rank, --world and --master")
    }
    guard (1...1024).contains(processes) else { throw ValidationError("--processes \(processes): give 1 to 1024") }
    guard processes == 1 || rank == nil else {
      throw ValidationError("--processes starts all of a run's; --rank, --world and --master are for those started one by one")
    }
  }

  func run() throws {
    StopSignal.install()
    let plan = try StagePlan(pipeline: pipeline, stage: stage)
    var recipe = Recipe(batch: batch ?? (plan.setting.lowResolution == nil ? 32 : 16))
    recipe.accumulate = accumulate
    recipe.learningRate = learningRate
    recipe.warmup = warmup
    recipe.decay = decay
    recipe.averaging = ema
    recipe.crop = crop ?? (plan.setting.resolution > 64 ? 64 : nil)
    recipe.flip = flip
    recipe.labelDrop = labelDrop
    recipe.maxLevel = maxLevel
    recipe.redrawn = redrawn == nil ? 0 : redrawnPart
    recipe.seed = seed
    var options = TrainingOptions(out: out ?? "runs/\(stage)", data: data)
    options.redrawn = redrawn
    options.resume = resume
    options.initialWeights = `init`
    options.export = exports ? plan.weightsPath : nil
    options.maxMinutes = maxMinutes
    options.maxSteps = maxSteps
    options.sampleEvery = sampleEvery
    options.checkpointMinutes = checkpointMinutes
    options.device = Device(device)
    options.dtype = NumericsClass.dtype(plan.dtype, on: options.device)
    if let dtype {
      guard let type = DType(rawValue: dtype) else { throw ValidationError("--dtype \(dtype): bf16 or f32") }
      options.dtype = type
    }
    options.threads = threads ?? max(1, ProcessInfo.processInfo.activeProcessorCount / processes)
    if let rank, let world, let master { options.place = try ProcessPlace(rank: rank, world: world, master: master) }
    let others = try processes > 1 ? OtherRanks(world: processes, arguments: argumentsOfOthers(threads: options.threads)) : nil
    if let others { options.place = others.place }
    do {
      let trainer = try Trainer(setting: plan.setting, network: plan.network, recipe: recipe, options: options) { line in
        FileHandle.standardError.write(Data((line + "\n").utf8))
      }
      others?.met()
      try trainer.run { StopSignal.isRaised }
    } catch {
      others?.stop()
      throw error
    }
    try others?.wait()
  }

  /// This process's arguments without --processes, for those that it starts.
  private func argumentsOfOthers(threads: Int) -> [String] {
    var arguments: [String] = []
    var rest = CommandLine.arguments.dropFirst()[...]
    while let argument = rest.popFirst() {
      if argument == "--processes" { rest = rest.dropFirst() } else if !argument.hasPrefix("--processes=") { arguments.append(argument) }
    }
    return self.threads == nil ? arguments + ["--threads", "\(threads)"] : arguments
  }
}

/// SIGINT and SIGTERM ask for an orderly stop; a second one ends the process at once.
private enum StopSignal {
  private static let raised = Atomic<Bool>(false)

  static var isRaised: Bool { raised.load(ordering: .relaxed) }

  static func install() {
    // Touched here, so that the handler itself never runs a lazy initialiser.
    raised.store(false, ordering: .relaxed)
    for number in [SIGINT, SIGTERM] { signal(number, handleStopSignal) }
  }

  fileprivate static func raise(_ number: Int32) {
    raised.store(true, ordering: .relaxed)
    signal(number, SIG_DFL)
  }
}

private func handleStopSignal(_ number: Int32) {
  StopSignal.raise(number)
}
