import Foundation
import FreePorts
import LocalFleet

package enum WireTransport: String, CaseIterable, Sendable, Codable {
  case tcp, inproc
}

/// What the transport and the broker do with messages of some sizes, beside what libzmq and SQLite do by themselves, all in one run.
package struct WireBenchmark: Sendable {
  package struct Settings: Sendable {
    /// The folder that holds `weir-broker`.
    package var executables: String
    /// Of the messages whose latency and rate are measured.
    package var sizes: [Int]
    /// Widths of the tensors that a broker hands on, each three planes of f32.
    package var resolutions: [UInt32]
    /// A folder on the disk that the durable broker writes to.
    package var disk: String
    /// One on a file system in memory.
    package var memory: String
    /// Longer is surer: everything is done so many times as often.
    package var scale: Double

    package init(executables: String, sizes: [Int], resolutions: [UInt32], disk: String, memory: String, scale: Double) {
      self.executables = executables
      self.sizes = sizes
      self.resolutions = resolutions
      self.disk = disk
      self.memory = memory
      self.scale = scale
    }
  }

  /// As JSON it is stable: fields are added, never renamed.
  package struct Report: Sendable, Codable {
    package var transports: [Transport]
    package var relays: [Relayed]
  }

  /// Messages between two sockets.
  package struct Transport: Sendable, Codable {
    package var transport: WireTransport
    package var bytes: Int
    /// One way: libzmq's C API as local_lat and remote_lat use it, and Weir's sockets.
    package var plainLatencyUs, weirLatencyUs: Double
    /// Messages a second, as local_thr and remote_thr count them.
    package var plainPerS, weirPerS: Double
  }

  /// Tensors through something between two sockets, a second.
  package struct Relayed: Sendable, Codable {
    package var bytes: Int
    /// `zmq_proxy` between TCP sockets; and as proxy_thr has it, in one process, where no byte moves.
    package var proxyPerS, proxyInprocPerS: Double
    /// A broker whose journal lies in memory, and which holds drafts there instead of writing them.
    package var brokerInMemoryPerS: Double
    /// A broker with everything on the disk.
    package var brokerOnDiskPerS: Double
    /// What SQLite alone writes to that disk.
    package var sqlitePerS: Double
    /// Of a core, with the journal in memory.
    package var brokerCpu: Double

    package var gigabytesPerS: Double { brokerInMemoryPerS * Double(bytes) / 1e9 }
  }

  /// Bytes, and messages, that a measurement moves at most.
  private static let volume = (bytes: 2e9, messages: 400_000.0)
  /// Of broker and proxy in memory; an odd number.
  private static let rounds = 5
  private static let latencyTrips = 20_000.0
  private static let latencyBytes = 5e8

  private let settings: Settings
  private let progress: @Sendable (String) -> Void

  package init(_ settings: Settings, progress: @escaping @Sendable (String) -> Void) {
    self.settings = settings
    self.progress = progress
  }

  package func run() async throws -> Report {
    var report = Report(transports: [], relays: [])
    for transport in WireTransport.allCases {
      for bytes in settings.sizes {
        progress("\(transport.rawValue), \(bytes) bytes")
        let messages = count(bytes)
        let trips = max(100, Int(min(Self.latencyTrips, Self.latencyBytes / Double(bytes)) * settings.scale))
        report.transports.append(
          Transport(
            transport: transport, bytes: bytes,
            plainLatencyUs: try PlainZeroMQ.latency(over: transport, bytes: bytes, roundTrips: trips),
            weirLatencyUs: try await SocketPath.latency(over: transport, bytes: bytes, roundTrips: trips),
            plainPerS: try PlainZeroMQ.throughput(over: transport, bytes: bytes, messages: messages),
            weirPerS: try await SocketPath.throughput(over: transport, bytes: bytes, messages: messages)))
      }
    }
    for resolution in settings.resolutions {
      let bytes = Int(12 * resolution * resolution)
      progress("relays, \(bytes) bytes")
      let messages = count(bytes)
      let tensors = max(500, messages / 4)
      // By turns, for what else the machine does changes from second to second.
      var rounds: [(broker: (rate: Double, cpu: Double), proxy: Double)] = []
      for _ in 0..<Self.rounds {
        rounds.append(
          (
            try await relayed(resolution, tensors, in: settings.memory, ["--drafts-in-memory", "1GiB"]),
            try PlainZeroMQ.proxied(bytes: bytes, messages: messages)
          ))
      }
      let onDisk = try await relayed(resolution, tensors, in: settings.disk)
      report.relays.append(
        Relayed(
          bytes: bytes, proxyPerS: quantile(0.5, of: rounds.map(\.proxy)),
          proxyInprocPerS: try PlainZeroMQ.proxiedInProcess(bytes: bytes, messages: messages),
          brokerInMemoryPerS: quantile(0.5, of: rounds.map(\.broker.rate)), brokerOnDiskPerS: onDisk.rate,
          sqlitePerS: try PlainSQLite.rate(in: settings.disk, bytes: bytes, tensors: tensors, perCommit: Relay.inFlight),
          brokerCpu: quantile(0.5, of: rounds.map(\.broker.cpu))))
    }
    return report
  }

  private func count(_ bytes: Int) -> Int {
    max(1_000, Int(min(Self.volume.messages, Self.volume.bytes / Double(bytes)) * settings.scale))
  }

  private func relayed(
    _ resolution: UInt32, _ tensors: Int, in folder: String, _ options: [String] = []
  ) async throws -> (rate: Double, cpu: Double) {
    let data = "\(folder)/weir-wire-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: data) }
    let host = "127.0.0.1"
    guard let ports = FreePorts.choose(2, at: [host]) else { throw Broken("no two ports are free") }
    let (clients, workers) = ("tcp://\(host):\(ports[0])", "tcp://\(host):\(ports[1])")
    var plan = FleetPlan(
      executables: settings.executables, bind: clients, data: data, engine: .synthetic(stepMilliseconds: 0), workers: [])
    plan.brokerOptions = ["--bind-workers", workers, "--log-level", "error"] + options
    let broker = try LocalFleet(plan, log: progress)
    try await broker.start()
    do {
      let result = try await Relay.measure(
        .init(resolution: resolution, tensors: tensors, warmUp: tensors / 10), clients: clients, workers: workers,
        broker: await broker.pids["broker"] ?? 0)
      await broker.stop()
      return result
    } catch {
      await broker.stop()
      throw error
    }
  }
}
