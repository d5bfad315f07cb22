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

  private var waiting: [PeerID: Deque<Entry>] = [:]

  var isEmpty: Bool { waiting.isEmpty }
  var peers: [PeerID] { Array(waiting.keys) }

  func isWaiting(_ peer: PeerID) -> Bool { waiting[peer] != nil }

  /// False if too many wait for this client.
  mutating func add(_ entry: Entry, for peer: PeerID) -> Bool {
    guard waiting[peer]?.count ?? 0 < Self.limit else { return false }
    waiting[peer, default: []].append(entry)
    return true
  }

  mutating func takeFirst(for peer: PeerID) -> Entry? {
    let entry = waiting[peer]?.popFirst()
    if waiting[peer]?.isEmpty == true { waiting[peer] = nil }
    return entry
  }

  mutating func remove(_ peer: PeerID) { waiting[peer] = nil }

  mutating func removeAll(where isStale: (ImageOrder) -> Bool) {
    for peer in peers {
      waiting[peer]?.removeAll { isStale($0.order) }
      if waiting[peer]?.isEmpty == true { waiting[peer] = nil }
    }
  }
}
