import CLinuxShims
import CZeroMQ
import Dispatch
import Glibc
import Synchronization

/// A thread that waits for sockets, timers and jobs, and the executor of the actors that use them.
///
/// An actor pins itself to a loop and then makes its sockets and handlers in ordinary isolated methods:
/// ```swift
/// nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
/// …
/// loop.add(socket) { [weak self] in self?.assumeIsolated { $0.receive() } }
/// ```
/// A turn of the loop is: wait; the readable and writable sockets' handlers; the timers that are due; the jobs that were enqueued when
/// the turn began to run them; the turn-end handlers. Everything but `perform`, `wake`, `stop` and the executor's own methods has to be called
/// on the loop. `stop` must be called, or the thread and all it refers to live on.
package final class SocketLoop: SerialExecutor, Sendable {
  package struct TimerID: Hashable, Sendable { fileprivate var rawValue: UInt64 }

  private struct Shared {
    var jobs: [UnownedJob] = []
    var stopping = false
    /// The thread has ended: what comes now runs on `fallback`.
    var stopped = false
  }

  private let shared = Mutex(Shared())
  private let wakeUp: Int32
  /// Runs the jobs that arrive after `stop`, so that no task waits for ever.
  private let fallback: DispatchQueue
  private let ended = DispatchSemaphore(value: 0)
  // Touched only on the loop's thread, or on `fallback` after that thread has ended.
  private nonisolated(unsafe) let state = LoopState()
  private let thread = Atomic<UInt>(0)

  /// - Parameter name: of the thread; the kernel keeps 15 bytes.
  package init(name: String) throws(ZeroMQError) {
    wakeUp = CLinuxShims_eventfd()
    guard wakeUp >= 0 else { throw ZeroMQError(errno: Glibc.errno, operation: "eventfd") }
    fallback = DispatchQueue(label: name)
    let arguments = Unmanaged.passRetained(ThreadArguments(loop: self, name: name))
    var thread = pthread_t()
    let status = pthread_create(&thread, nil, runLoopThread, arguments.toOpaque())
    guard status == 0 else {
      arguments.release()
      throw ZeroMQError(errno: status, operation: "start thread \(name)")
    }
    pthread_detach(thread)
  }

  deinit {
    close(wakeUp)
  }

  // MARK: Sockets

  /// Calls `onReadable` once a turn while there is something to read. It may read as much as it likes; what it leaves, it is called for
  /// again next turn.
  package func add(_ socket: Socket, onReadable: @escaping () -> Void) {
    preconditionOnLoop()
    state.add(socket, onReadable: onReadable)
  }

  /// Stops watching the socket; it stays open.
  package func remove(_ socket: Socket) {
    preconditionOnLoop()
    state.remove(socket)
  }

  /// Calls `body` once, when the socket, which must have been added, takes messages again after `.wouldBlock`.
  package func onceWritable(_ socket: Socket, _ body: @escaping () -> Void) {
    preconditionOnLoop()
    state.onceWritable(socket, body)
  }

  // MARK: Timers

  /// Calls `body` once, at `deadline` or soon after.
  @discardableResult
  package func schedule(at deadline: ContinuousClock.Instant, _ body: @escaping () -> Void) -> TimerID {
    preconditionOnLoop()
    return TimerID(rawValue: state.timers.insert(at: deadline, body))
  }

  /// Calls `body` once, `delay` from now or soon after.
  @discardableResult
  package func schedule(after delay: Duration, _ body: @escaping () -> Void) -> TimerID {
    schedule(at: .now + delay, body)
  }

  /// A timer that has fired or was cancelled already is left alone.
  package func cancel(_ timer: TimerID) {
    preconditionOnLoop()
    state.timers.remove(timer.rawValue)
  }

  /// Memory that was freed stays at hand, so that what takes it next has no page fault every 4 KiB, and goes back to the system from time to
  /// time only, as long as the loop runs. For the whole process.
  package func releaseFreedMemory(every interval: Duration) {
    CLinuxShims_keep_freed_memory()
    scheduleRelease(every: interval)
  }

  private func scheduleRelease(every interval: Duration) {
    schedule(after: interval) { [weak self] in
      CLinuxShims_release_freed_memory(16 << 20)
      self?.scheduleRelease(every: interval)
    }
  }

  // MARK: Turns

  /// Calls `body` at the end of every turn, after all that arrived in it was handled: the place to do once for all of it what is
  /// dear to do for each.
  package func onTurnEnd(_ body: @escaping () -> Void) {
    preconditionOnLoop()
    state.turnEndHandlers.append(body)
  }

  /// Makes sure that a turn begins after this call, whether or not anything arrives. From any thread.
  package func wake() { CLinuxShims_eventfd_signal(wakeUp) }

  // MARK: Jobs

  /// Runs `body` on the loop and waits for it.
  package func perform<Value: Sendable, Failure: Error>(
    _ body: @escaping @Sendable () throws(Failure) -> Value
  ) async throws(Failure) -> Value {
    try await LoopRunner(loop: self).run(body)
  }

  package func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let (first, stopped) = shared.withLock { shared in
      if shared.stopped { return (false, true) }
      shared.jobs.append(job)
      return (shared.jobs.count == 1, false)
    }
    if stopped {
      fallback.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
    } else if first && !isOnLoop {
      CLinuxShims_eventfd_signal(wakeUp)
    }
  }

  package func checkIsolated() {
    precondition(isOnLoop, "not on the loop's thread")
  }

  package func isIsolatingCurrentContext() -> Bool? { isOnLoop }

  // MARK: End

  /// Ends the loop after the turn it is in, closes the sockets that it watches, drops its timers and handlers, and waits for its thread.
  /// Jobs that come later run elsewhere, one at a time. May be called again, from any thread but the loop's.
  package func stop() {
    precondition(!isOnLoop, "a loop cannot wait for itself to end")
    shared.withLock { $0.stopping = true }
    CLinuxShims_eventfd_signal(wakeUp)
    ended.wait()
    ended.signal()
  }

  private var isOnLoop: Bool { thread.load(ordering: .relaxed) == currentThread }

  private func preconditionOnLoop() {
    precondition(
      isOnLoop || shared.withLock { $0.stopped }, "sockets and timers of a loop may be touched only on the loop")
  }

  fileprivate func run() {
    thread.store(currentThread, ordering: .relaxed)
    let executor = asUnownedSerialExecutor()
    var jobs: [UnownedJob] = []
    while true {
      let (busy, stopping) = shared.withLock { (!$0.jobs.isEmpty, $0.stopping) }
      if stopping { break }
      state.wait(wakeUp: wakeUp, mayBlock: !busy)
      state.dispatch()
      shared.withLock { swap(&jobs, &$0.jobs) }
      for job in jobs { job.runSynchronously(on: executor) }
      jobs.removeAll(keepingCapacity: true)
      state.endTurn()
    }
    // Jobs may enqueue jobs and add sockets; the thread ends at a moment when neither is left.
    repeat {
      for job in jobs { job.runSynchronously(on: executor) }
      jobs.removeAll(keepingCapacity: true)
      state.close()
    } while shared.withLock({ shared in
      shared.stopped = shared.jobs.isEmpty
      swap(&jobs, &shared.jobs)
      return !shared.stopped
    })
    thread.store(0, ordering: .relaxed)
    ended.signal()
  }
}

private actor LoopRunner {
  private let loop: SocketLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  init(loop: SocketLoop) { self.loop = loop }

  func run<Value, Failure: Error>(_ body: @Sendable () throws(Failure) -> Value) throws(Failure) -> Value { try body() }
}

private final class ThreadArguments: Sendable {
  let loop: SocketLoop
  let name: String

  init(loop: SocketLoop, name: String) {
    self.loop = loop
    self.name = name
  }
}

private var currentThread: UInt { UInt(pthread_self()) }

private func runLoopThread(_ arguments: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let arguments else { return nil }
  let thread = Unmanaged<ThreadArguments>.fromOpaque(arguments).takeRetainedValue()
  CLinuxShims_block_signals()
  CLinuxShims_set_thread_name(thread.name)
  thread.loop.run()
  return nil
}
