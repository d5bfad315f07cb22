import ArgumentParser
import Foundation
import Load

struct WireCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wire", abstract: "Measures the transport beside libzmq itself, and the broker beside a ZeroMQ proxy and SQLite.",
    discussion: """
      Latency and rate of messages are those of libzmq's perf programs (local_lat, remote_lat, local_thr, remote_thr, inproc_lat, \
      inproc_thr), once on its C API and once on Weir's sockets. Then tensors go from one worker to another: through zmq_proxy over TCP, through \
      the proxy of libzmq's proxy_thr, which passes on references within a process, and through weir-broker, which lies beside this program, \
      with journal and drafts in memory (the median of five runs, by turns with zmq_proxy), and with everything on the disk; and SQLite \
      writes the same tensors by itself.
      """)

  @Option(help: ArgumentHelp("Bytes of the messages between two sockets.", valueName: "list"))
  var sizes = "64,49152,786432"

  @Option(help: ArgumentHelp("Widths of the images whose tensors are handed on.", valueName: "list"))
  var resolutions = "64,256"

  @Option(help: ArgumentHelp("Where the durable broker and SQLite write; default: the folder for temporary files.", valueName: "folder"))
  var data: String?

  @Option(help: ArgumentHelp("A file system in memory, for the broker that need not wait for a disk.", valueName: "folder"))
  var memory = "/dev/shm"

  @Option(help: ArgumentHelp("Everything so many times as often.", valueName: "factor"))
  var scale = 1.0

  @Option(help: ArgumentHelp("Write the figures there as JSON; -: to standard output.", valueName: "file"))
  var json: String?

  func validate() throws {
    guard scale > 0, scale <= 1_000 else { throw ValidationError("--scale \(scale): give a number above 0, up to 1000.") }
    _ = try numbers("--sizes", sizes, 1...(64 << 20))
    _ = try numbers("--resolutions", resolutions, 8...2_048)
  }

  func run() async throws {
    let settings = WireBenchmark.Settings(
      executables: try ProgramFolder.path(), sizes: try numbers("--sizes", sizes, 1...(64 << 20)),
      resolutions: try numbers("--resolutions", resolutions, 8...2_048).map { UInt32($0) },
      disk: data ?? FileManager.default.temporaryDirectory.path, memory: memory, scale: scale)
    let report = try await WireBenchmark(settings) { FileHandle.standardError.write(Data("\($0)\n".utf8)) }.run()
    if let json {
      let data = try JSONEncoder.report.encode(report)
      if json == "-" { FileHandle.standardOutput.write(data + Data("\n".utf8)) } else { try data.write(to: URL(fileURLWithPath: json)) }
    }
    if json != "-" { print(report.text) }
  }

  private func numbers(_ flag: String, _ text: String, _ range: ClosedRange<Int>) throws -> [Int] {
    try text.split(separator: ",", omittingEmptySubsequences: false).map { item in
      guard let number = Int(item), range.contains(number) else {
        throw ValidationError("\(flag) \(text): write numbers from \(range.lowerBound) to \(range.upperBound) with commas between them.")
      }
      return number
    }
  }
}

extension WireBenchmark.Report {
  /// For a terminal.
  fileprivate var text: String {
    func row(_ cells: [String]) -> String {
      cells.enumerated().map { index, cell in
        let width = index == 0 ? 18 : 16
        let padding = String(repeating: " ", count: max(1, width - cell.count))
        return index == 0 ? cell + padding : padding + cell
      }.joined()
    }
    func short(_ value: Double) -> String { value >= 100 ? "\(Int(value.rounded()))" : String(format: "%.1f", value) }
    func percent(_ part: Double, of whole: Double) -> String { whole > 0 ? "\(Int((part / whole * 100).rounded())) %" : "–" }
    var lines = [row(["", "µs libzmq", "µs Weir", "msg/s libzmq", "msg/s Weir", "of libzmq's"])]
    for entry in transports {
      lines.append(
        row([
          "\(entry.transport.rawValue) \(entry.bytes) B", short(entry.plainLatencyUs), short(entry.weirLatencyUs), short(entry.plainPerS),
          short(entry.weirPerS), percent(entry.weirPerS, of: entry.plainPerS),
        ]))
    }
    for entry in relays {
      lines += [
        "", "tensors of \(entry.bytes) bytes handed on, a second",
        row(["zmq_proxy, TCP", short(entry.proxyPerS)]), row(["proxy_thr", short(entry.proxyInprocPerS)]),
        row(["broker, memory", short(entry.brokerInMemoryPerS), percent(entry.brokerInMemoryPerS, of: entry.proxyPerS) + " of the proxy"])
          + String(format: "  %.2f GB/s, %.0f %% of a core", entry.gigabytesPerS, entry.brokerCpu * 100),
        row(["broker, disk", short(entry.brokerOnDiskPerS), percent(entry.brokerOnDiskPerS, of: entry.sqlitePerS) + " of SQLite"]),
        row(["SQLite alone", short(entry.sqlitePerS)]),
      ]
    }
    return lines.joined(separator: "\n")
  }
}
