import Broker
import DequeModule
import SeededRandom
import Wire

/// Connections between a broker and its peers, as ZeroMQ's: messages of one direction of one connection keep their order, those of different
/// connections do not. A message is lost only with its connection; what a peer sends while it has none waits until it has one again.
/// A connection has a new routing id each time it is made.
struct Network {
  enum Owner: Hashable {
    /// A worker's process, looking for the worker port (`isPublic`) or on it.
    case machine(Int, life: Int, isPublic: Bool)
    case client(Int)
  }

  enum Message {
    case worker(WorkerMessage)
    case request(UInt64, ClientRequest)
    case command(WorkerCommand)
    case reply(UInt64, ClientReply)
  }

  enum Delivery { case accepted, gone, full }

  struct Arrival {
    var connection: Int
    var direction: Fault.Direction
    /// Of the connection; what was sent in an earlier one is lost.
    var life: Int
  }

  private struct Lane {
    var messages: Deque<Message> = []
    var lastArrival: Int64 = 0
    var stalledUntil: Int64 = 0
    var doublesNext = false
  }

  private struct Connection {
    let owner: Owner
    /// `nil`: it is being made.
    var peer: PeerID?
    var life = 0
    var isClosed = false
    /// By direction.
    private var lanes = [Lane(), Lane()]
    /// Sent while it had no peer.
    var backlog: [Message] = []
    var random: SplitMix64

    init(owner: Owner, random: SplitMix64) {
      self.owner = owner
      self.random = random
    }

    subscript(direction: Fault.Direction) -> Lane {
      get { lanes[direction.rawValue] }
      _modify { yield &lanes[direction.rawValue] }
    }
  }

  /// What a peer that does not read may have waiting; the broker's own limit is higher.
  private static let maxWaiting = 64
  /// Of a worker's socket; beyond it the worker's outbox takes over.
  private static let maxUp = 24

  private let seed: UInt64
  private var connections: [Connection] = []
  private var byPeer: [PeerID: Int] = [:]
  /// When the broker learns that a peer is gone.
  private var lost: [PeerID: Int64] = [:]
  private var peers: UInt64 = 0

  init(seed: UInt64) { self.seed = seed }

  /// - Returns: the connection's number, and when it will be made if the broker is there.
  mutating func open(_ owner: Owner, isBrokerUp: Bool) -> Int {
    let number = connections.count
    connections.append(Connection(owner: owner, random: .stream(seed, 1_000 + UInt64(number))))
    if isBrokerUp { connect(number) }
    return number
  }

  private mutating func connect(_ number: Int) {
    peers += 1
    let peer = PeerID((0..<5).map { UInt8(truncatingIfNeeded: peers >> (32 - 8 * $0)) })
    connections[number].peer = peer
    byPeer[peer] = number
  }

  /// The socket is closed. What was sent still arrives.
  mutating func close(_ number: Int) {
    connections[number].isClosed = true
    connections[number].backlog = []
  }

  func owner(_ number: Int) -> Owner { connections[number].owner }
  func isOpen(_ number: Int) -> Bool { !connections[number].isClosed }

  // MARK: Sending

  func canTake(_ number: Int) -> Bool { connections[number][.up].messages.count + connections[number].backlog.count < Self.maxUp }

  /// - Returns: arrivals to schedule.
  mutating func sendUp(_ message: Message, on number: Int, at now: Int64) -> [(Int64, Arrival)] {
    guard connections[number].peer != nil else {
      connections[number].backlog.append(message)
      return []
    }
    return put(message, .up, number, now)
  }

  mutating func sendDown(_ message: Message, to peer: PeerID, at now: Int64) -> (Delivery, [(Int64, Arrival)]) {
    guard let number = byPeer[peer], connections[number].peer == peer else {
      // Until the broker learns of it, messages go nowhere.
      return (now < lost[peer] ?? 0 ? .accepted : .gone, [])
    }
    if connections[number].isClosed { return (connections[number][.up].messages.isEmpty ? .gone : .accepted, []) }
    if connections[number][.down].messages.count >= Self.maxWaiting { return (.full, []) }
    return (.accepted, put(message, .down, number, now))
  }

  private mutating func put(_ message: Message, _ direction: Fault.Direction, _ number: Int, _ now: Int64) -> [(Int64, Arrival)] {
    let isSlow = connections[number].random.chance(0.02)
    let delay = Int64.random(in: isSlow ? 20...200 : 0...4, using: &connections[number].random)
    let time = max(now + delay, connections[number][direction].lastArrival)
    connections[number][direction].lastArrival = time
    let copies = connections[number][direction].doublesNext ? 2 : 1
    connections[number][direction].doublesNext = false
    for _ in 0..<copies { connections[number][direction].messages.append(message) }
    let arrival = Arrival(connection: number, direction: direction, life: connections[number].life)
    return Array(repeating: (time, arrival), count: copies)
  }

  // MARK: Arriving

  /// When an arrival that is due now really comes; `nil`: never.
  func due(_ arrival: Arrival, at now: Int64) -> Int64? {
    guard connections[arrival.connection].life == arrival.life else { return nil }
    return max(now, connections[arrival.connection][arrival.direction].stalledUntil)
  }

  /// The message, and who sent it if it goes up.
  mutating func take(_ arrival: Arrival) -> (Message, PeerID)? {
    guard let peer = connections[arrival.connection].peer else { return nil }
    return connections[arrival.connection][arrival.direction].messages.popFirst().map { ($0, peer) }
  }

  // MARK: Faults

  mutating func cut(_ number: Int, brokerKnowsAt time: Int64) {
    if let peer = connections[number].peer {
      byPeer[peer] = nil
      lost[peer] = time
    }
    connections[number].peer = nil
    connections[number].life += 1
    connections[number][.up].messages = []
    connections[number][.down].messages = []
  }

  /// - Returns: arrivals of what waited for it.
  mutating func remake(_ number: Int, at now: Int64) -> [(Int64, Arrival)] {
    guard connections[number].peer == nil, !connections[number].isClosed else { return [] }
    connect(number)
    let backlog = connections[number].backlog
    connections[number].backlog = []
    return backlog.flatMap { put($0, .up, number, now) }
  }

  mutating func stall(_ number: Int, _ direction: Fault.Direction, until time: Int64) {
    connections[number][direction].stalledUntil = max(connections[number][direction].stalledUntil, time)
  }

  mutating func doubleNext(_ number: Int, _ direction: Fault.Direction) {
    connections[number][direction].doublesNext = true
  }

  /// The broker is dead.
  ///
  /// - Returns: the connections that will be made again.
  mutating func cutAll() -> [Int] {
    for number in connections.indices where connections[number].peer != nil { cut(number, brokerKnowsAt: 0) }
    lost = [:]
    return connections.indices.filter { !connections[$0].isClosed }
  }
}
