import Glibc

/// One direction of a connection through a `FaultyNetwork`: bytes wait in it until they are due.
struct Tunnel {
  /// What happens to the bytes that a direction is given.
  enum Weather: Hashable, Sendable {
    /// They arrive after this time, in order.
    case delay(Duration)
    /// They wait until the weather is another, even if their sender is gone by then.
    case hold
    /// They are lost, and with them the connection, once the weather is another.
    case lose
  }

  enum State { case working, finished, broken }

  private struct Piece {
    var bytes: ArraySlice<UInt8>
    /// `nil`: not while the weather is this.
    var due: ContinuousClock.Instant?
  }

  /// More than this waits with its sender.
  private static let mostBytes = 256 << 20

  let source: Int32
  let sink: Int32
  private var pieces: [Piece] = []
  private var waiting = 0
  private var isAtEnd = false
  /// Something was lost of it: it can't go on.
  private(set) var hasLost = false
  private(set) var state = State.working

  init(from source: Int32, to sink: Int32) {
    self.source = source
    self.sink = sink
  }

  var mayRead: Bool { state == .working && !isAtEnd && waiting < Self.mostBytes }

  /// When the next bytes are due; `nil`: nothing waits, or nothing that has a time.
  var nextDue: ContinuousClock.Instant? { state == .working ? pieces.first.flatMap(\.due) : nil }

  mutating func read(_ weather: Weather, _ now: ContinuousClock.Instant) {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while mayRead {
      let count = Glibc.read(source, &buffer, buffer.count)
      if count < 0, errno == EAGAIN || errno == EINTR { return }
      // A sender that was cut off has said what it said.
      guard count > 0 else {
        isAtEnd = true
        return
      }
      switch weather {
      case .delay(let delay): add(buffer[..<count], due: now + delay)
      case .hold: add(buffer[..<count], due: nil)
      case .lose: hasLost = true
      }
    }
  }

  private mutating func add(_ bytes: ArraySlice<UInt8>, due: ContinuousClock.Instant?) {
    waiting += bytes.count
    pieces.append(Piece(bytes: bytes, due: due))
  }

  /// What waited without a time has one now.
  mutating func release(at now: ContinuousClock.Instant) {
    for index in pieces.indices where pieces[index].due == nil { pieces[index].due = now }
  }

  /// Passes on what is due.
  ///
  /// - Returns: whether more is due than the sink takes now.
  mutating func write(_ now: ContinuousClock.Instant) -> Bool {
    while state == .working, let due = pieces.first?.due, due <= now {
      let bytes = pieces[0].bytes
      let count = bytes.withUnsafeBytes { send(sink, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if count < 0 {
        if errno == EAGAIN || errno == EINTR { return true }
        state = .broken
        return false
      }
      waiting -= count
      if count == bytes.count { pieces.removeFirst() } else { pieces[0].bytes = bytes.dropFirst(count) }
    }
    if state == .working, isAtEnd, pieces.isEmpty {
      shutdown(sink, Int32(SHUT_WR))
      state = .finished
    }
    return false
  }
}
