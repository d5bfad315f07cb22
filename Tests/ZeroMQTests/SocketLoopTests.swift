import Synchronization
import Testing

@testable import ZeroMQ

@Suite(.timeLimit(.minutes(1))) struct SocketLoopTests {
  /// Writes down what happens on a loop, and is touched only there.
  private final class Log: @unchecked Sendable {
    private(set) var entries: [String] = []
    private var reader: CheckedContinuation<[String], Never>?

    func write(_ entry: String) {
      entries.append(entry)
      guard entry == "done" else { return }
      reader?.resume(returning: entries)
      reader = nil
    }

    func whenDone(_ continuation: CheckedContinuation<[String], Never>) {
      if entries.contains("done") { continuation.resume(returning: entries) } else { reader = continuation }
    }
  }

  /// Runs `body` on the loop, and returns the log once "done" is in it.
  private func record(_ loop: SocketLoop, _ body: @escaping @Sendable (Log) throws -> Void) async throws -> [String] {
    let log = Log()
    try await loop.perform { try body(log) }
    return await withCheckedContinuation { continuation in
      Task { await loop.perform { log.whenDone(continuation) } }
    }
  }

  @Test func timersFireInOrder() async throws {
    try await withLoop { loop, _ in
      let log = try await record(loop) { log in
        let now = ContinuousClock.now
        loop.schedule(at: now + .milliseconds(20)) { log.write("done") }
        loop.schedule(at: now + .milliseconds(10)) { log.write("b") }
        loop.schedule(at: now + .milliseconds(10)) { log.write("c") }
        loop.schedule(at: now - .seconds(1)) { log.write("a") }
      }
      #expect(log == ["a", "b", "c", "done"])
    }
  }

  @Test func cancelledTimersDont() async throws {
    try await withLoop { loop, _ in
      let log = try await record(loop) { log in
        let never = loop.schedule(after: .milliseconds(1)) { log.write("never") }
        loop.cancel(never)
        loop.cancel(never)
        let past = ContinuousClock.now
        var second: SocketLoop.TimerID?
        // Both are due at once; the first cancels the second.
        loop.schedule(at: past) { if let second { loop.cancel(second) } }
        second = loop.schedule(at: past) { log.write("second") }
        loop.schedule(after: .milliseconds(5)) { log.write("done") }
      }
      #expect(log == ["done"])
    }
  }

  @Test func timersOfNoDelayLeaveTurnsToOthers() async throws {
    try await withLoop { loop, context in
      let log = try await record(loop) { log in
        @Sendable func again(_ count: Int) {
          loop.schedule(after: .zero) { if count < 5 { again(count + 1) } else { log.write("done") } }
        }
        again(0)
        loop.onTurnEnd { log.write("turn") }
      }
      #expect(log.count { $0 == "turn" } >= 5)
    }
  }

  /// The broker's group commit: all that arrived in a turn was handled when its end is announced.
  @Test func turnEndsAfterAllItsMessages() async throws {
    try await withLoop { loop, context in
      let log = try await record(loop) { log in
        let routers = try (0..<2).map { index in
          let router = try Socket(context, .router)
          try router.bind("inproc://turn\(index)")
          loop.add(router) {
            do { while try router.receive() != nil { log.write("message") } } catch { log.write("\(error)") }
          }
          return router
        }
        loop.onTurnEnd {
          guard log.entries.contains("message") else { return }
          log.write("end")
          log.write("done")
        }
        for index in routers.indices {
          let dealer = try Socket(context, .dealer)
          try dealer.connect("inproc://turn\(index)")
          for _ in 0..<3 { try dealer.send([Frame("x")]) }
          // Keeps it open until the loop ends.
          loop.add(dealer) {}
        }
      }
      #expect(log.prefix(8) == ["message", "message", "message", "message", "message", "message", "end", "done"])
    }
  }

  @Test func whatIsLeftUnreadIsReadNextTurn() async throws {
    try await withLoop { loop, context in
      let log = try await record(loop) { log in
        let pair = try [Socket(context, .pair), Socket(context, .pair)]
        try pair[0].bind("inproc://left")
        try pair[1].connect("inproc://left")
        var count = 0
        loop.add(pair[0]) {
          do {
            log.write(try pair[0].receive().map { $0[0].text } ?? "nothing")
          } catch {
            log.write("\(error)")
          }
          count += 1
          if count == 3 {
            loop.remove(pair[0])
            log.write("done")
          }
        }
        for text in ["1", "2", "3"] { try pair[1].send([Frame(text)]) }
        loop.add(pair[1]) {}
      }
      #expect(log == ["1", "2", "3", "done"])
    }
  }

  @Test func handlerMayCloseSockets() async throws {
    try await withLoop { loop, context in
      let log = try await record(loop) { log in
        let sockets = try (0..<2).map { index in
          let pair = try [Socket(context, .pair), Socket(context, .pair)]
          try pair[0].bind("inproc://close\(index)")
          try pair[1].connect("inproc://close\(index)")
          try pair[1].send([Frame("x")])
          return pair
        }
        for index in 0..<2 {
          // Both are readable in one turn; whoever is first closes the other without removing it.
          loop.add(sockets[index][0]) {
            log.write("read")
            sockets[1 - index][0].close()
            loop.remove(sockets[index][0])
          }
        }
        loop.schedule(after: .milliseconds(20)) { log.write("done") }
      }
      #expect(log == ["read", "done"])
    }
  }

  @Test func performRunsOnTheLoop() async throws {
    try await withLoop { loop, _ in
      struct Failure: Error {}
      #expect(loop.isIsolatingCurrentContext() == false)
      #expect(await loop.perform { loop.isIsolatingCurrentContext() == true })
      await #expect(throws: Failure.self) { try await loop.perform { () throws(Failure) in throw Failure() } }
    }
  }

  @Test func manyTasksHopOnIt() async throws {
    try await withLoop { loop, _ in
      let log = Log()
      await withTaskGroup { group in
        for _ in 0..<8 {
          group.addTask { for _ in 0..<500 { await loop.perform { log.write("x") } } }
        }
      }
      #expect(await loop.perform { log.entries.count } == 4000)
    }
  }

  // MARK: End

  @Test func stopsWhileBusy() async throws {
    for round in 0..<20 {
      let loop = try SocketLoop(name: "busy")
      let context = try Context()
      let turns = Atomic<Int>(0)
      let running = AsyncStream<Void>.makeStream()
      try await loop.perform {
        let router = try Socket(context, .router)
        try router.bind("inproc://busy")
        let dealer = try Socket(context, .dealer)
        try dealer.connect("inproc://busy")
        loop.add(router) { while case .some(.some) = try? router.receive() {} }
        loop.add(dealer) {}
        @Sendable func again() { loop.schedule(after: .zero) { again() } }
        again()
        loop.onTurnEnd {
          try? dealer.send([Frame("x")])
          if turns.add(1, ordering: .relaxed).newValue == round { running.continuation.yield() }
        }
        if round == 0 { running.continuation.yield() }
      }
      let tasks = (0..<4).map { _ in
        Task {
          var value = 0
          while !Task.isCancelled { value += await loop.perform { 1 } }
          return value
        }
      }
      for await _ in running.stream { break }
      loop.stop()
      loop.stop()
      // Those that wait for the loop, and those that come after it has ended, get their answers.
      #expect(await loop.perform { 7 } == 7)
      for task in tasks { task.cancel() }
      for task in tasks { _ = await task.value }
      // Its sockets are closed, or this would hang.
      context.terminate()
    }
  }

  @Test func stopsFromSeveralThreads() async throws {
    let loop = try SocketLoop(name: "stop")
    await withTaskGroup { group in
      for _ in 0..<3 { group.addTask { loop.stop() } }
    }
  }

  @Test func dropsWhatItHolds() async throws {
    final class Held: Sendable {}
    weak var held: Held?
    let loop = try SocketLoop(name: "held")
    do {
      let object = Held()
      held = object
      await loop.perform {
        loop.onTurnEnd { _ = object }
        loop.schedule(after: .seconds(1000)) { _ = object }
      }
    }
    loop.stop()
    #expect(held == nil)
  }

  @Test func survivesTheEndOfItsContext() async throws {
    try await withLoop { loop, context in
      let peer = try await TestPeer(loop, context, .router, bind: "inproc://end")
      context.terminate()
      let error = await #expect(throws: ZeroMQError.self) { try await peer.send("x") }
      #expect(error?.code == .terminated)
      #expect(await loop.perform { true })
    }
  }
}
