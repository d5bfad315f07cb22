import CLinuxShims
import Foundation
import Glibc
import Synchronization

/// Machines within this one: network namespaces, each with a link of its own to the hub, which is the namespace that this process is in.
///
/// Every packet between a machine and the hub passes through this process, which delays and loses it as the link's quality says, so that what a
/// link does is the same on every kernel and follows from a seed. Namespaces and devices hang on this process's descriptors: they end with it,
/// however it ends.
final class Machines: Sendable {
  static let most = 3
  /// Of the range that is set aside for measurements (RFC 2544).
  static let hub = "198.18.0.1"
  private static let mtu: Int32 = 9_000

  private struct Shared {
    var qualities: [LinkQuality]
    var isCut: [Bool]
    var isStopping = false
  }

  private let shared: Mutex<Shared>
  private let namespaces: [Int32]
  private let wakeUp: Int32

  /// - Throws: `Broken` if this process may not do that; see `OwnNetwork`.
  init(_ count: Int, _ quality: LinkQuality, seed: UInt64) throws {
    var ends: [Ends] = []
    do {
      for number in 0..<count { ends.append(try Self.makeMachine(number)) }
    } catch {
      for end in ends { end.close() }
      throw error
    }
    shared = Mutex(Shared(qualities: Array(repeating: quality, count: count), isCut: Array(repeating: false, count: count)))
    namespaces = ends.map(\.namespace)
    wakeUp = CLinuxShims_eventfd()
    let run = Run(self, ends, wakeUp, seed: seed)
    Thread.detachNewThread { run.loop() }
  }

  deinit {
    close(wakeUp)
    for namespace in namespaces { close(namespace) }
  }

  /// What starts a program in a machine: the program and its arguments follow.
  func launcher(_ machine: Int) -> [String] { ["/usr/bin/nsenter", "--net=/proc/\(getpid())/fd/\(namespaces[machine])", "--"] }

  func set(_ quality: LinkQuality, of machine: Int) { change { $0.qualities[machine] = quality } }

  /// Nothing gets to the machine or away from it any more, or everything does again.
  func cut(_ machine: Int, _ isCut: Bool) { change { $0.isCut[machine] = isCut } }

  /// Ends the links and their thread, which holds this until then.
  func stop() { change { $0.isStopping = true } }

  private func change(_ body: (inout Shared) -> Void) {
    shared.withLock { body(&$0) }
    CLinuxShims_eventfd_signal(wakeUp)
  }

  // MARK: Making them

  /// The two ends of a link, and the machine at the far one.
  private struct Ends: Sendable {
    var near: Int32
    var far: Int32
    var namespace: Int32

    func close() { for descriptor in [near, far, namespace] { Glibc.close(descriptor) } }
  }

  private static func makeMachine(_ number: Int) throws -> Ends {
    let address = "198.18.0.\(number + 2)"
    let near = CLinuxShims_make_tunnel(hub, address, mtu)
    guard near >= 0 else { throw failure("make a network device") }
    // A thread stays in the namespace that it has entered, so it has to be one that ends.
    let made = Mutex<(far: Int32, namespace: Int32, errno: Int32)>((-1, -1, 0))
    let ended = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      let namespace = CLinuxShims_enter_new_network()
      var far: Int32 = -1
      if namespace >= 0, CLinuxShims_raise_loopback() == 0 { far = CLinuxShims_make_tunnel(address, hub, mtu) }
      let number = errno
      made.withLock { $0 = (far, namespace, number) }
      ended.signal()
    }
    ended.wait()
    let (far, namespace, number) = made.withLock { $0 }
    guard far >= 0 else {
      close(near)
      if namespace >= 0 { close(namespace) }
      errno = number
      throw failure("make a network namespace")
    }
    return Ends(near: near, far: far, namespace: namespace)
  }

  private static func failure(_ what: String) -> Broken {
    Broken("cannot \(what): \(String(cString: strerror(errno))); it takes CAP_NET_ADMIN and /dev/net/tun")
  }

  // MARK: The thread

  /// A direction of a link, and the packets that are on their way.
  private struct Lane {
    let source: Int32
    let sink: Int32
    var link: Link
    var packets: [(bytes: [UInt8], due: Double)] = []
    /// Of the packets, those that were delivered.
    var delivered = 0
  }

  /// What belongs to the thread alone.
  private final class Run: @unchecked Sendable {
    private static let packetsPerTurn = 64

    private let machines: Machines
    private let wakeUp: Int32
    private let ends: [Ends]
    /// Two a machine: away from it, and towards it.
    private var lanes: [Lane] = []
    private var buffer = [UInt8](repeating: 0, count: 1 << 16)
    private let start = ContinuousClock.now

    init(_ machines: Machines, _ ends: [Ends], _ wakeUp: Int32, seed: UInt64) {
      self.machines = machines
      self.wakeUp = wakeUp
      self.ends = ends
      for (number, end) in ends.enumerated() {
        for (source, sink) in [(end.far, end.near), (end.near, end.far)] {
          lanes.append(
            Lane(source: source, sink: sink, link: Link(LinkQuality(), seed: seed &+ UInt64(2 * number + (source == end.near ? 1 : 0)))))
        }
      }
    }

    func loop() {
      while takeOrders() {
        var next: Double?
        for index in lanes.indices {
          read(&lanes[index])
          deliver(&lanes[index])
          if lanes[index].delivered < lanes[index].packets.count {
            next = min(next ?? .infinity, lanes[index].packets[lanes[index].delivered].due)
          }
        }
        wait(until: next)
      }
      for end in ends { for descriptor in [end.near, end.far] { close(descriptor) } }
    }

    private var now: Double { (ContinuousClock.now - start) / .seconds(1) }

    /// - Returns: false if that is to end.
    private func takeOrders() -> Bool {
      machines.shared.withLock { shared in
        for index in lanes.indices {
          lanes[index].link.quality = shared.qualities[index / 2]
          lanes[index].link.isCut = shared.isCut[index / 2]
        }
        return !shared.isStopping
      }
    }

    private func read(_ lane: inout Lane) {
      for _ in 0..<Self.packetsPerTurn {
        let count = Glibc.read(lane.source, &buffer, buffer.count)
        if count <= 0 { return }
        if let due = lane.link.send(bytes: count, at: now) { lane.packets.append((Array(buffer[..<count]), due)) }
      }
    }

    private func deliver(_ lane: inout Lane) {
      let now = now
      while lane.delivered < lane.packets.count, lane.packets[lane.delivered].due <= now {
        // A device that takes no more loses it, as one does.
        let bytes = lane.packets[lane.delivered].bytes
        _ = write(lane.sink, bytes, bytes.count)
        lane.delivered += 1
      }
      if lane.delivered == lane.packets.count || lane.delivered > 1_024 {
        lane.packets.removeFirst(lane.delivered)
        lane.delivered = 0
      }
    }

    private func wait(until next: Double?) {
      var watched = [pollfd(fd: wakeUp, events: Int16(POLLIN), revents: 0)]
      watched += lanes.map { pollfd(fd: $0.source, events: Int16(POLLIN), revents: 0) }
      let seconds = next.map { max(0, $0 - now) } ?? 3_600
      CLinuxShims_poll(&watched, UInt(watched.count), Int(seconds * 1e9))
      CLinuxShims_eventfd_clear(wakeUp)
    }
  }
}
