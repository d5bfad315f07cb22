import CLinuxShims
import Foundation
import Glibc
import Synchronization

/// A network between a broker and some of its peers that can be slow, partitioned one way or both, and cut: it passes on TCP connections from
/// its own address to the same ports of the broker's.
final class FaultyNetwork: Sendable {
  struct Weather: Hashable, Sendable {
    /// Towards the broker, and from it.
    var up = Tunnel.Weather.delay(.zero)
    var down = Tunnel.Weather.delay(.zero)

    static let fine = Weather()
  }

  struct Counters: Hashable, Sendable {
    var connections = 0
    /// Connections that were cut, or ended because something of them was lost.
    var cut = 0
  }

  private struct Shared {
    var weather = Weather.fine
    var counters = Counters()
    var cutting = 0.0
    var isStopping = false
  }

  private let shared = Mutex(Shared())
  private let wakeUp: Int32
  let host: String

  /// - Parameters:
  ///   - host: its own address, of this machine.
  ///   - target: the broker's.
  ///   - ports: of both.
  init(at host: String, before target: String, ports: [UInt16]) throws {
    self.host = host
    var listeners: [(descriptor: Int32, port: UInt16)] = []
    do {
      for port in ports { listeners.append((try Self.listen(host, port), port)) }
    } catch {
      for listener in listeners { close(listener.descriptor) }
      throw error
    }
    wakeUp = CLinuxShims_eventfd()
    let run = Run(network: self, target: target, listeners: listeners, wakeUp: wakeUp)
    Thread.detachNewThread { run.loop() }
  }

  deinit { close(wakeUp) }

  var counters: Counters { shared.withLock { $0.counters } }

  /// From now on. Connections that have lost something end.
  func set(_ weather: Weather) {
    shared.withLock { $0.weather = weather }
    CLinuxShims_eventfd_signal(wakeUp)
  }

  /// Ends connections at once, whatever is on its way in them.
  ///
  /// - Parameter part: of them, from 0 to 1.
  func cut(_ part: Double) {
    shared.withLock { $0.cutting = part }
    CLinuxShims_eventfd_signal(wakeUp)
  }

  /// Ends its connections and its thread, which hold it until then.
  func stop() {
    shared.withLock { $0.isStopping = true }
    CLinuxShims_eventfd_signal(wakeUp)
  }

  static func listen(_ host: String, _ port: UInt16) throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var yes: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    guard withAddress(host, port, { bind(descriptor, $0, $1) }) == 0, Glibc.listen(descriptor, 128) == 0 else {
      let reason = String(cString: strerror(errno))
      close(descriptor)
      throw Broken("a network cannot listen at \(host):\(port): \(reason)")
    }
    return descriptor
  }

  static func withAddress<Result>(
    _ host: String, _ port: UInt16, _ body: (UnsafePointer<sockaddr>?, socklen_t) -> Result
  ) -> Result {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    inet_pton(AF_INET, host, &address.sin_addr)
    return withUnsafeBytes(of: address) { body($0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count)) }
  }

  // MARK: The thread

  private struct Connection {
    var up: Tunnel
    var down: Tunnel

    var descriptors: [Int32] { [up.source, up.sink] }
    /// Each direction is done with.
    var isOver: Bool { up.state != .working && down.state != .working }
    var hasLost: Bool { up.hasLost || down.hasLost }
  }

  /// What belongs to the thread alone.
  private final class Run: @unchecked Sendable {
    private let network: FaultyNetwork
    private let target: String
    private let listeners: [(descriptor: Int32, port: UInt16)]
    private let wakeUp: Int32
    private var connections: [Connection] = []
    private var weather = Weather.fine

    init(network: FaultyNetwork, target: String, listeners: [(descriptor: Int32, port: UInt16)], wakeUp: Int32) {
      self.network = network
      self.target = target
      self.listeners = listeners
      self.wakeUp = wakeUp
    }

    func loop() {
      while takeOrders() {
        accept()
        let now = ContinuousClock.now
        var isFull: Set<Int32> = []
        var next: ContinuousClock.Instant?
        for index in connections.indices {
          connections[index].up.read(weather.up, now)
          connections[index].down.read(weather.down, now)
          if connections[index].up.write(now) { isFull.insert(connections[index].up.sink) }
          if connections[index].down.write(now) { isFull.insert(connections[index].down.sink) }
          for due in [connections[index].up.nextDue, connections[index].down.nextDue] {
            if let due, due > now { next = min(next ?? due, due) }
          }
        }
        drop { $0.isOver }
        wait(isFull, until: next)
      }
      drop { _ in true }
      for listener in listeners { close(listener.descriptor) }
    }

    /// - Returns: false if that is to end.
    private func takeOrders() -> Bool {
      let (newWeather, part, isStopping) = network.shared.withLock { shared in
        defer { shared.cutting = 0 }
        return (shared.weather, shared.cutting, shared.isStopping)
      }
      if isStopping { return false }
      if part > 0 {
        cut { _ in Double.random(in: 0..<1) < part }
      }
      if newWeather != weather {
        cut { $0.hasLost }
        let now = ContinuousClock.now
        for index in connections.indices {
          if newWeather.up != .hold { connections[index].up.release(at: now) }
          if newWeather.down != .hold { connections[index].down.release(at: now) }
        }
        weather = newWeather
      }
      return true
    }

    /// Drops them, and counts them before anyone can notice.
    private func cut(_ which: (Connection) -> Bool) {
      drop { connection in
        guard which(connection) else { return false }
        network.shared.withLock { $0.counters.cut += 1 }
        return true
      }
    }

    private func drop(_ which: (Connection) -> Bool) {
      connections.removeAll { connection in
        guard which(connection) else { return false }
        for descriptor in connection.descriptors { close(descriptor) }
        return true
      }
    }

    private func accept() {
      for listener in listeners {
        while true {
          let near = Glibc.accept(listener.descriptor, nil, nil)
          if near < 0 { break }
          let far = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
          // The target is on this machine: that takes no time.
          guard FaultyNetwork.withAddress(target, listener.port, { connect(far, $0, $1) }) == 0 else {
            close(near)
            close(far)
            continue
          }
          var yes: Int32 = 1
          for descriptor in [near, far] {
            _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
          }
          connections.append(Connection(up: Tunnel(from: near, to: far), down: Tunnel(from: far, to: near)))
          network.shared.withLock { $0.counters.connections += 1 }
        }
      }
    }

    private func wait(_ isFull: Set<Int32>, until next: ContinuousClock.Instant?) {
      var watched = ([wakeUp] + listeners.map(\.descriptor)).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
      for connection in connections {
        for tunnel in [connection.up, connection.down] {
          let reading = tunnel.mayRead ? POLLIN : 0
          let other = tunnel.source == connection.up.source ? connection.down : connection.up
          let writing = isFull.contains(other.sink) ? POLLOUT : 0
          // A descriptor that is asked for nothing reports its end all the same, again and again.
          if reading | writing != 0 { watched.append(pollfd(fd: tunnel.source, events: Int16(reading | writing), revents: 0)) }
        }
      }
      let pause = next.map { max(1, Int32(ContinuousClock.now.duration(to: $0) / .milliseconds(1))) } ?? -1
      poll(&watched, nfds_t(watched.count), pause)
      CLinuxShims_eventfd_clear(wakeUp)
    }
  }
}
