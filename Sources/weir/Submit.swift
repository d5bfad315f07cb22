import ArgumentParser
import Client
import Foundation
import Wire

struct Submit: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Asks for images, and waits for them.",
    discussion: """
      An image's bytes depend on the pipeline, its label, its seed and the sampler options, and on nothing else. A label's samples have \
      the seeds SEED, SEED+1, … With --out each image is written as JOB-INDEX.png as soon as it is finished, and contact-sheet.png at \
      the end.

      Tenants share the fleet by the weights that the broker gives them, and work of a higher priority goes before all of a lower one. A \
      job with a deadline is refused if the fleet will not make it, and stopped once it cannot. With --hold-after the command ends when \
      every sample waits there, and writes what they look like to --out.

      Ctrl-C stops the waiting, not the job: 'weir watch JOB' waits again.

      A --samples file has lines of label,seed. Lists of stages look like base32=20,sr64=15; stages not named keep the pipeline's defaults.

      --json prints objects with an "event": accepted (job, samples, duplicate, key), progress and finished (as 'weir status --json'), \
      image (job, sample, label, label_name, seed, digest, numerics, path).
      """)

  @OptionGroup var connection: BrokerOptions

  @Option(help: ArgumentHelp("Labels by name or number: NAME, a,b,c or all.", valueName: "labels"))
  var label: String?

  @Option(help: ArgumentHelp("Samples of each label.", valueName: "n"))
  var count: UInt32 = 1

  @Option(help: ArgumentHelp("The first sample's seed; default: a random one.", valueName: "seed"))
  var seed: UInt64?

  @Option(help: ArgumentHelp("Take labels and seeds from a file of lines label,seed.", valueName: "file"))
  var samples: String?

  @Option(help: ArgumentHelp("Write images and a contact sheet there.", valueName: "folder"))
  var out: String?

  @OptionGroup var sampling: SamplingOptions

  @Option(help: ArgumentHelp("The pipeline, by name or digest, if the broker has several.", valueName: "name"))
  var pipeline = ""

  @Option(help: ArgumentHelp("Who asks; default: $WEIR_TENANT or \"default\".", valueName: "name"))
  var tenant: String?

  enum PriorityName: String, ExpressibleByArgument, CaseIterable {
    case low, normal, high

    var priority: Priority {
      switch self {
      case .low: .low
      case .normal: .normal
      case .high: .high
      }
    }
  }

  @Option(help: "low, normal or high.")
  var priority = PriorityName.normal

  @Option(help: ArgumentHelp("Be done in this time: 30s, 10m, 2h.", valueName: "time"), transform: TimeArgument.parse)
  var deadline: TimeArgument?

  @Option(help: ArgumentHelp("Hold every sample after this stage, until 'weir release'.", valueName: "stage"))
  var holdAfter: String?

  @Option(help: ArgumentHelp("Idempotency key: the same key is the same job. Default: a random one.", valueName: "key"))
  var key: String?

  @Flag(help: "Print the job's number and don't wait.")
  var detach = false

  @Flag(help: "Print JSON lines.")
  var json = false

  func validate() throws {
    guard (label == nil) != (samples == nil) else {
      throw ValidationError("Say which images: either --label NAME|N|a,b,c|all or --samples FILE.")
    }
    guard samples == nil || (seed == nil && count == 1) else {
      throw ValidationError("--seed and --count go with --label: a --samples file names every seed.")
    }
    guard count > 0 else { throw ValidationError("--count 0: ask for at least one sample.") }
    guard !detach || out == nil else {
      throw ValidationError("--detach and --out exclude each other: fetch later with 'weir fetch JOB --out'.")
    }
    guard key != "" else { throw ValidationError("--key '': leave it out for a random one.") }
  }

  func run() async throws {
    let runs: [SampleRun]
    if let samples {
      runs = try SampleList.runs(file: samples)
    } else {
      // Below 2³², so that it is easily typed again.
      let seed = seed ?? UInt64.random(in: 0..<(1 << 32))
      runs = SampleList.runs(labels: try SampleList.labels(label ?? ""), seed: seed, count: count)
    }
    let submission = Submission(
      pipeline: pipeline, runs: runs, options: try sampling.options(), truncated: sampling.truncated, key: key ?? WeirClient.randomKey(),
      tenant: tenant ?? ProcessInfo.processInfo.environment["WEIR_TENANT"] ?? "", priority: priority.priority,
      deadlineMilliseconds: deadline?.milliseconds, holdAfter: holdAfter ?? "")
    let folder = try out.map { try ImageFolder($0) }
    let client = try connection.client()
    try await interruptible {
      let accepted = try await submit(submission, to: client)
      if json {
        try JSONLines.write(
          JSONLines.Accepted(job: "\(accepted.job)", samples: accepted.samples, duplicate: accepted.duplicate, key: submission.key))
      } else if detach {
        Output.line("\(accepted.job)")
      }
      guard !detach else { return }
      try await Watch.follow(accepted.job, with: client, folder: folder, json: json)
    }
  }

  /// A broker that says "later" is asked again until the patience ends.
  private func submit(_ submission: Submission, to client: WeirClient) async throws -> Acceptance {
    let deadline = ContinuousClock.now + .seconds(connection.timeout)
    while true {
      do {
        return try await client.submit(submission)
      } catch {
        guard let pause = error.refusal?.retryAfterMilliseconds, ContinuousClock.now + .milliseconds(pause) < deadline else { throw error }
        try await Task.sleep(for: .milliseconds(pause))
      }
    }
  }
}

extension TimeArgument {
  static func parse(_ text: String) throws -> TimeArgument {
    guard let time = TimeArgument(text) else { throw ValidationError("'\(text)' is no time: write it like 1500ms, 30s, 10m or 2h") }
    return time
  }
}

/// The sampler flags.
struct SamplingOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Denoising steps: base32=20,sr64=15.", valueName: "list"))
  var steps: [String] = []

  @Option(help: ArgumentHelp("ddpm, ddim, dpm++2m or unipc; STAGE=NAME for one stage.", valueName: "name"))
  var sampler: [String] = []

  @Option(help: ArgumentHelp("DDIM's eta, 0 to 1; STAGE=X for one stage.", valueName: "x"))
  var eta: [String] = []

  @Option(help: ArgumentHelp("Conditioning-augmentation level of a stage's input: sr64=100.", valueName: "list"))
  var aug: [String] = []

  @Option(
    help: ArgumentHelp(
      "Weight of classifier-free guidance, 1: none; STAGE=W for one stage. The pipeline says which can be guided.", valueName: "w"))
  var guidance: [String] = []

  @Flag(help: "Truncated conditioning augmentation: stop the base stage at the level instead of adding noise to its output.")
  var truncated = false

  func options() throws(UsageError) -> [StageOptions] {
    try StageOptionList.parse(steps: steps, sampler: sampler, eta: eta, aug: aug, guidance: guidance)
  }
}
