import ArgumentParser
import Broker
import Glibc
import Logging
import ServiceLifecycle
import UnixSignals

struct Serve: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs a broker. This is what weir-broker does if it is told nothing else.",
    discussion: """
      When it listens it prints one line: ready clients=ENDPOINT workers=ENDPOINT. SIGTERM and SIGINT stop it; what it acknowledged is on \
      disk at any moment, so killing it loses nothing either.

      With --key-file and --allow connections are encrypted, and only those on the list get in. It has a line for each key, and may have \
      comments, which begin with #:

        client KEY tenant=alice weight=3 max-tasks=5000
        client KEY tenant=ops admin
        worker KEY stages=base32,sr64
        worker KEY stages=*

      A client sees and stops its tenant's jobs, an admin everyone's; weight and max-tasks are as --weight and --max-tenant-tasks. The list \
      is read again when it has changed, within a second, and on SIGHUP at once: who is not on it any more is cut off, and a worker's tasks \
      are queued again. A list with a mistake is reported, and the old one stays in force.
      """)

  @Option(help: "Where clients connect. Port 0 or * takes any free one.")
  var bind = "tcp://127.0.0.1:7710"

  @Option(help: "Where workers connect. (default: the next port up)")
  var bindWorkers: String?

  @Option(help: "Folder of the journal; made if it isn't there.")
  var data: String?

  @Option(
    help: ArgumentHelp(
      "Run no broker, but read all of a data folder's journal and say what is damaged. Exit status 0: nothing.", valueName: "dir"))
  var check: String?

  @Option(help: ArgumentHelp("This broker's own key: the .key_secret file that 'weir keygen' made.", valueName: "file"))
  var keyFile: String?

  @Option(help: ArgumentHelp("The list of the keys that may enter; goes with --key-file.", valueName: "file"))
  var allow: String?

  @Flag(help: "Allow addresses that other machines can reach, without encryption or keys.")
  var insecure = false

  @Option(help: "Workers and broker beat this often, in milliseconds.")
  var beatMs: UInt32 = 1_000

  @Option(help: "A worker that is silent this long is gone, and its tasks are queued again.")
  var deadMs: UInt32 = 5_000

  @Option(help: "Workers save a running task's state this often; 0: never.")
  var checkpointMs: UInt32 = 2_000

  @Option(help: "A task that takes no step for this long is taken from its worker. Once a stage was measured: 20 steps, at least 30 s.")
  var stallMs: UInt32 = 300_000

  @Option(help: "Tasks (stages of samples) that may be open at a time; more are refused.")
  var maxOpenTasks = 200_000

  @Option(help: "The same of one tenant. (default: as many as of all)")
  var maxTenantTasks: Int?

  @Option(help: ArgumentHelp("A tenant's part of the fleet against the others', which have 1.", valueName: "tenant=number"))
  var weight: [String] = []

  @Option(help: "Of running tasks' states a worker sends at most this many MiB/s; 0: no limit.")
  var checkpointMibPerSecond: UInt64 = 32

  @Option(
    help: """
      A task is given up after this many failures in a row without progress, a sample whose tensors the disk damages once it has begun anew \
      this often.
      """)
  var maxAttempts: UInt32 = 5

  @Option(help: "Samples of finished jobs to remember; the oldest jobs are forgotten first.")
  var keepSamples = 100_000

  @Option(help: "Disk space for finished images: 20GB, 500MB, 64GiB; the oldest jobs are forgotten first.")
  var keepBytes = ByteCount(bytes: 32 << 30)

  @Option(help: "Finished jobs are forgotten after this time: 7d, 12h, 30m. (default: never, but for the other two)")
  var keep: Age?

  @Option(help: "Memory for the images and drafts written last: 48MB, 1GiB.")
  var cacheBytes = ByteCount(bytes: 48 << 20)

  @Option(
    help: ArgumentHelp(
      """
      Drafts that the next stage takes up at once stay in so much memory, and are not written: 1GiB. A broker that is killed has their samples \
      begun anew, with the same bytes. 0: every draft is written.
      """, valueName: "bytes"))
  var draftsInMemory = ByteCount(bytes: 0)

  @Option(help: "trace, debug, info, notice, warning, error or critical.")
  var logLevel = "info"

  func validate() throws {
    guard data != nil || check != nil else { throw ValidationError("--data DIR is missing: the folder of the journal") }
    guard (keyFile == nil) == (allow == nil) else {
      throw ValidationError("--key-file and --allow go together: the broker's own key, and the list of those that may enter")
    }
    guard keyFile == nil || !insecure else { throw ValidationError("--insecure means without keys: leave out --insecure or --key-file") }
    guard beatMs >= 10, beatMs <= 600_000 else { throw ValidationError("--beat-ms \(beatMs) is not in 10…600000") }
    guard deadMs / 2 >= beatMs else { throw ValidationError("--dead-ms \(deadMs) has to be at least twice --beat-ms \(beatMs)") }
    guard maxOpenTasks >= 1 else { throw ValidationError("--max-open-tasks has to be at least 1") }
    guard maxTenantTasks ?? 1 >= 1 else { throw ValidationError("--max-tenant-tasks has to be at least 1") }
    guard checkpointMibPerSecond < 1 << 20 else {
      throw ValidationError("--checkpoint-mib-per-second \(checkpointMibPerSecond) is too large")
    }
    _ = try weights()
    guard maxAttempts >= 1 else { throw ValidationError("--max-attempts has to be at least 1") }
    guard keepSamples >= 0 else { throw ValidationError("--keep-samples cannot be negative") }
    guard Logger.Level(rawValue: logLevel) != nil else { throw ValidationError("--log-level: there is no level '\(logLevel)'") }
  }

  func run() async throws {
    if let check { return try report(try JournalCheck(directory: check), of: check) }
    var logger = Logger(label: "weir-broker") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = Logger.Level(rawValue: logLevel) ?? .info
    allowManyConnections()
    let (reloads, reload) = AsyncStream.makeStream(of: Void.self)
    let hangUps = await UnixSignalsSequence(trapping: .sighup)
    let forwarding = Task { for await _ in hangUps { reload.yield() } }
    defer { forwarding.cancel() }
    let daemon = BrokerDaemon(try brokerConfiguration(), logger: logger, reloads: reloads) { endpoints in
      print("ready clients=\(endpoints.clients) workers=\(endpoints.workers)")
      fflush(nil)
    }
    var group = ServiceGroupConfiguration(services: [daemon], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    group.maximumGracefulShutdownDuration = .seconds(10)
    try await ServiceGroup(configuration: group).run()
  }

  /// Each peer is a file descriptor, and the usual limit is 1,024.
  private func allowManyConnections() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  private func weights() throws -> [String: Double] {
    var weights: [String: Double] = [:]
    for text in weight {
      let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2, let number = Double(parts[1]), BrokerLimits.weightRange.contains(number) else {
        throw ValidationError("--weight '\(text)': write it like --weight alice=3, with a number from 0.001 to 1000000")
      }
      weights[parts[0]] = number
    }
    return weights
  }

  private func brokerConfiguration() throws -> BrokerConfiguration {
    var limits = BrokerLimits()
    limits.beatMilliseconds = beatMs
    limits.deadMilliseconds = deadMs
    limits.graceMilliseconds = deadMs
    limits.checkpointMilliseconds = checkpointMs
    limits.stallMilliseconds = stallMs
    limits.maxOpenTasks = maxOpenTasks
    limits.maxOpenTasksPerTenant = maxTenantTasks ?? maxOpenTasks
    limits.weights = try weights()
    limits.checkpointBytesPerSecond = checkpointMibPerSecond << 20
    limits.maxAttempts = maxAttempts
    limits.keptSamples = keepSamples
    limits.keptBytes = keepBytes.bytes
    limits.keptMilliseconds = keep?.milliseconds
    var keys: BrokerConfiguration.Keys?
    if let keyFile, let allow { keys = try BrokerConfiguration.Keys(keyFile: keyFile, accessList: allow) }
    var configuration = BrokerConfiguration(
      clients: try BindAddress(bind), workers: try bindWorkers.map { text in try BindAddress(text) }, dataDirectory: data ?? "",
      isInsecureAllowed: insecure, keys: keys, limits: limits)
    configuration.cacheBytes = Int(clamping: cacheBytes.bytes)
    configuration.draftBytes = Int(clamping: draftsInMemory.bytes)
    return configuration
  }
}
