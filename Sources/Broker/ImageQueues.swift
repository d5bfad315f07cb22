import DequeModule

/// Images that clients asked for faster than they read: each waits, unread from the disk, until its client has read most of what it was sent
/// before. So a client that reads slowly loses no image and takes no more memory than others.
struct ImageQueues {
  struct Entry: Hashable {
    var request: UInt64
    var order: ImageOrder
  }

  /// Of one client.
  static let limit = 1_024
  /// Of all clients.
  static let totalLimit = 65_536

  private var waiting: [PeerID: Deque<Entry>] = [:]
  private(set) var count = 0

  var isEmpty: Bool { waiting.isEmpty }
  var peers: [PeerID] { Array(waiting.keys) }

  func isWaiting(_ peer: PeerID) -> Bool { waiting[peer] != nil }

  /// False if too many wait.
  mutating func add(_ entry: Entry, for peer: PeerID) -> Bool {
    guard waiting[peer]?.count ?? 0 < Self.limit, count < Self.totalLimit else { return false }
    waiting[peer, default: []].append(entry)
    count += 1
    return true
  }

  mutating func takeFirst(for peer: PeerID) -> Entry? {
    let entry = waiting[peer]?.popFirst()
    if entry != nil { count -= 1 }
    if waiting[peer]?.isEmpty == true { waiting[peer] = nil }
    return entry
  }

  mutating func remove(_ peer: PeerID) { count -= waiting.removeValue(forKey: peer)?.count ?? 0 }

  mutating func removeAll(where isStale: (ImageOrder) -> Bool) {
    for peer in peers {
      let before = waiting[peer]?.count ?? 0
      waiting[peer]?.removeAll { isStale($0.order) }
      count -= before - (waiting[peer]?.count ?? 0)
      if waiting[peer]?.isEmpty == true { waiting[peer] = nil }
    }
  }
}
