import Foundation
import Testing

extension FleetTests {
  /// Load tests that start their own fleets, and measurements that need no fleet.
  @Suite struct OwnFleetTests {
    private func report(_ arguments: [String]) async throws -> [String: Any] {
      let result = try await run("weir-load", arguments + ["--json", "-"])
      try #require(result.status == 0, "\(result)")
      return try #require(try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any])
    }

    private func number(_ value: Any?) throws -> Double { try #require((value as? NSNumber)?.doubleValue) }

    @Test func aFleetIsStartedForTheRun() async throws {
      let report = try await report([
        "run", "--workers", "base32=1,sr64=2,sr256=3", "--step-ms", "2", "--slots", "2", "--steps", "base32=1,sr64=2,sr256=3",
        "--concurrency",
        "12", "--duration", "3", "--verify", "--quiet",
      ])
      #expect(try number(report["wrong"]) == 0 && number(report["verified"]) > 0)
      #expect(try number(report["ideal_per_s"]) == 1_000)
      let efficiency = try number(report["efficiency"])
      #expect(efficiency > 0 && efficiency <= 1, "\(efficiency)")
      let stages = try #require(report["stages"] as? [String: [String: Any]])
      #expect(try number(stages["sr256"]?["workers"]) == 3)
    }

    private static let mayHaveNetworks: Bool = {
      let trial = Process()
      trial.executableURL = URL(fileURLWithPath: "/usr/bin/unshare")
      trial.arguments = ["--user", "--map-root-user", "--net", "--", "/usr/bin/test", "-w", "/dev/net/tun"]
      trial.standardError = FileHandle.nullDevice
      guard (try? trial.run()) != nil else { return false }
      trial.waitUntilExit()
      return trial.terminationStatus == 0
    }()

    /// Every hop takes the link's delay, machines that are cut off come back, and not a byte is wrong.
    @Test(.enabled(if: mayHaveNetworks, "needs network namespaces and /dev/net/tun")) func machinesHaveNetworks() async throws {
      let report = try await report([
        "run", "--workers", "base32=1,sr64=1,sr256=2", "--step-ms", "1", "--machines", "3", "--link", "delay=20ms,rate=200mbit,loss=0.5%",
        "--cut", "2@1+1", "--steps", "base32=1,sr64=1,sr256=1", "--concurrency", "4", "--duration", "3", "--verify", "--quiet",
      ])
      #expect(try number(report["wrong"]) == 0 && number(report["verified"]) > 0)
      let latency = try #require(report["latency_ms"] as? [String: Any])
      // Three stages, each of which is assigned and answered.
      #expect(try number(latency["p50"]) >= 120, "\(latency)")
    }

    @Test func theWireIsMeasured() async throws {
      let report = try await report(["wire", "--scale", "0.001", "--sizes", "64,8192", "--resolutions", "16"])
      let transports = try #require(report["transports"] as? [[String: Any]])
      #expect(transports.count == 4)
      for entry in transports {
        for key in ["plain_latency_us", "weir_latency_us", "plain_per_s", "weir_per_s"] { #expect(try number(entry[key]) > 0, "\(key)") }
      }
      let relays = try #require(report["relays"] as? [[String: Any]])
      for key in ["proxy_per_s", "proxy_inproc_per_s", "broker_in_memory_per_s", "broker_on_disk_per_s", "sqlite_per_s"] {
        #expect(try number(relays.first?[key]) > 0, "\(key)")
      }
    }
  }
}
