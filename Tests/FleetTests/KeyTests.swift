import Client
import Foundation
import Glibc
import Subprocess
import Testing
import Wire

extension FleetTests {
  /// A fleet with keys, as real programs.
  @Suite struct KeyTests {
    private let folder = FileManager.default.temporaryDirectory.appending(path: "weir-keys-\(UUID().uuidString)").path

    private func keygen(_ name: String) async throws -> String {
      let result = try await run("weir", ["keygen", name, "--out", folder])
      try #require(result.status == 0, "\(result)")
      let line = try #require(result.output.split(separator: "\n").first, "\(result)")
      return String(line.dropFirst("public key: ".count))
    }

    private func write(_ list: [String]) throws {
      try Data(list.joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: "\(folder)/allow"), options: .atomic)
    }

    private func keyed(_ name: String) -> [String] {
      ["--key-file", "\(folder)/\(name).key_secret", "--broker-key", "\(folder)/broker.key"]
    }

    @Test func keysAreNeverOverwritten() async throws {
      defer { try? FileManager.default.removeItem(atPath: folder) }
      let first = try await keygen("alice")
      #expect(first.count == 40)
      let again = try await run("weir", ["keygen", "alice", "--out", folder])
      #expect(
        again.status == 1 && again.errors.contains("\(folder)/alice.key_secret") && again.errors.contains("there already"), "\(again)")
      #expect(try String(contentsOfFile: "\(folder)/alice.key", encoding: .utf8).contains(first))
      let attributes = try FileManager.default.attributesOfItem(atPath: "\(folder)/alice.key_secret")
      #expect(attributes[.posixPermissions] as? Int == 0o600)
      for name in ["", "a/b", ".."] { #expect(try await run("weir", ["keygen", name]).status == 2) }
    }

    @Test func whatIsMissingIsNamed() async throws {
      defer { try? FileManager.default.removeItem(atPath: folder) }
      _ = try await keygen("alice")
      for (program, arguments, status, word) in [
        ("weir-broker", ["--data", folder, "--key-file", "\(folder)/alice.key_secret"], 2, "--allow"),
        ("weir-broker", ["--data", folder, "--key-file", "x", "--allow", "y", "--insecure"], 2, "--insecure"),
        ("weir-broker", ["--data", folder, "--key-file", "\(folder)/alice.key", "--allow", "y"], 1, "no secret-key"),
        ("weir-broker", ["--data", folder, "--bind", "tcp://0.0.0.0:0"], 1, "weir keygen"),
        ("weir", ["status", "--key-file", "\(folder)/alice.key_secret"], 2, "--broker-key"),
        ("weir", ["status", "--key-file", "\(folder)/none", "--broker-key", "\(folder)/alice.key"], 2, "cannot be read"),
        ("weir", ["up", "--engine", "synthetic", "--key-file", "x"], 2, "--worker-key-file"),
        ("weir-worker", ["--stage", "base32", "--engine", "synthetic", "--broker-key", "x"], 2, "--key-file"),
      ] as [(String, [String], Int32, String)] {
        let result = try await run(program, arguments)
        #expect(result.status == status && result.errors.contains(word), "\(program) \(arguments): \(result)")
      }
    }

    /// `weir up` with keys, a client that is on the list and one that is not, and a signal that changes that.
    @Test func aFleetWithKeysLetsInWhoIsOnItsList() async throws {
      defer { try? FileManager.default.removeItem(atPath: folder) }
      _ = try await keygen("broker")
      let (alice, bob, worker) = (try await keygen("alice"), try await keygen("bob"), try await keygen("worker"))
      let list = ["# a fleet", "client \(alice) tenant=alice", "worker \(worker) stages=*"]
      try write(list)
      let fleet = Program(
        "weir",
        [
          "up", "--engine", "synthetic", "--step-ms", "1", "--bind", "tcp://127.0.0.1:*", "--data", "\(folder)/data", "--key-file",
          "\(folder)/broker.key_secret", "--allow", "\(folder)/allow", "--worker-key-file", "\(folder)/worker.key_secret",
        ])
      do {
        let ready = try await fleet.ready()
        let endpoint = String(try #require(ready.split(separator: " ").first { $0.hasPrefix("broker=") }).dropFirst(7))
        let broker = ["--broker", endpoint]
        let made = try await run(
          "weir",
          ["submit", "--label", "class-1", "--seed", "1", "--steps", "base32=2,sr64=2,sr256=2", "--out", "\(folder)/out"] + broker
            + keyed("alice"))
        #expect(made.status == 0 && made.output.contains("\(folder)/out/"), "\(made)")
        let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let python = try await Subprocess.run(
          .name("bash"),
          arguments: Arguments(
            [
              repository.appendingPathComponent("ops/examples/run").path, "--label", "class-1", "--out", "\(folder)/python",
            ] + broker + keyed("alice")),
          output: .string(limit: 1 << 16), error: .string(limit: 1 << 16))
        #expect(
          python.terminationStatus == .exited(0) && python.standardOutput.contains("\(folder)/python/"), "it said: \(python.standardError)")
        for (arguments, word) in [(keyed("bob"), bob), ([], "--key-file"), (keyed("worker"), "worker's")] {
          let refused = try await run("weir", ["status"] + broker + arguments)
          #expect(refused.status == 3 && refused.errors.contains(word), "\(refused)")
        }
        try await fleet.line(containing: "refused 127.0.0.1, key \(bob)")
        try write(list + ["client \(bob) tenant=bob"])
        try await fleet.line(containing: "was read again: 3 keys")
        let empty = try await run("weir", ["status", "--json"] + broker + keyed("bob"))
        #expect(empty.status == 0 && empty.output.contains("\"jobs\":[]"), "\(empty)")
      } catch {
        await fleet.kill()
        print(await fleet.output)
        throw error
      }
      await fleet.kill()
    }

    /// A broker whose list is read again on SIGHUP, also if nothing has changed.
    @Test func aHangUpIsNoEnd() async throws {
      defer { try? FileManager.default.removeItem(atPath: folder) }
      _ = try await keygen("broker")
      let alice = try await keygen("alice")
      try write(["client \(alice) tenant=alice"])
      let broker = Program(
        "weir-broker",
        [
          "--bind", "tcp://127.0.0.1:0", "--data", "\(folder)/data", "--key-file", "\(folder)/broker.key_secret", "--allow",
          "\(folder)/allow",
        ])
      do {
        _ = try await broker.ready()
        Glibc.kill(try #require(await broker.pid), SIGHUP)
        try await broker.line(containing: "was read again: 1 keys")
      } catch {
        await broker.kill()
        print(await broker.output)
        throw error
      }
      await broker.kill()
    }
  }
}
