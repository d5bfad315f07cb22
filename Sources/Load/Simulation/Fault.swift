/// Something that goes wrong in a simulation, at a time known beforehand.
struct Fault: CustomStringConvertible {
  /// Where a dying broker stops.
  enum CrashPoint: CustomStringConvertible {
    /// At once; what it has not committed is lost.
    case now
    /// In the next commit, of which nothing reaches the disk.
    case inCommit
    /// After the next commit, before any of its messages.
    case afterCommit
    /// After that many messages of the next commit.
    case afterMessages(Int)

    var description: String {
      switch self {
      case .now: "at once"
      case .inCommit: "in a commit"
      case .afterCommit: "after a commit, before its messages"
      case .afterMessages(let count): "after a commit and \(count) of its messages"
      }
    }
  }

  /// Whose connection.
  enum Party: CustomStringConvertible {
    case machine(Int)
    case client(Int)

    var description: String {
      switch self {
      case .machine(let index): "worker \(index)"
      case .client(let index): "client \(index)"
      }
    }
  }

  /// As seen from the broker's peers.
  enum Direction: Int { case up, down }

  /// Times are in milliseconds.
  enum Kind {
    case brokerKilled(CrashPoint, awayFor: Int64)
    case brokerFrozen(Int64)
    /// The next commit fails for good.
    case commitFails(awayFor: Int64)
    /// Nothing can be written for a while.
    case diskFull(Int64)
    /// Every checkpoint on disk is unreadable.
    case checkpointsDamaged
    /// One stage's output on disk is unreadable.
    case outputDamaged
    case wallClockJumps(Int64)
    case workerKilled(Int, awayFor: Int64)
    /// Its machine loses power: no connection says goodbye.
    case machineVanishes(Int, awayFor: Int64)
    /// SIGTERM.
    case workerDrained(Int, awayFor: Int64)
    /// SIGSTOP, and SIGCONT later.
    case workerFrozen(Int, Int64)
    /// A step takes this much longer, while the worker goes on beating.
    case stepIsLong(Int, Int64)
    /// So many steps throw.
    case stepsFail(Int, Int)
    /// Its next result has a bit flipped after its digest was taken.
    case bitFlips(Int)
    /// What is under way is lost. The broker learns of it `broker` later, the party dials again after `back`.
    case connectionCut(Party, broker: Int64, back: Int64)
    /// Nothing arrives for a while, then everything does.
    case connectionStalls(Party, Direction, Int64)
    /// The next message arrives twice.
    case messageDoubled(Party, Direction)
    case clientKilled(Int, awayFor: Int64)
    /// Somebody looks at a client's job for a while, and leaves without a word. The number says what he asks.
    case visit(Int, UInt64, Int64)
  }

  var time: Int64
  var kind: Kind

  var description: String {
    let what =
      switch kind {
      case .brokerKilled(let point, let away): "the broker is killed \(point), away for \(away) ms"
      case .brokerFrozen(let duration): "the broker is frozen for \(duration) ms"
      case .commitFails(let away): "a commit fails; the broker ends, away for \(away) ms"
      case .diskFull(let duration): "the disk is full for \(duration) ms"
      case .checkpointsDamaged: "all checkpoints on disk are damaged"
      case .outputDamaged: "a stage's output on disk is damaged"
      case .wallClockJumps(let jump): "the wall clock jumps by \(jump) ms"
      case .workerKilled(let index, let away): "worker \(index) is killed, away for \(away) ms"
      case .machineVanishes(let index, let away): "worker \(index)'s machine loses power, away for \(away) ms"
      case .workerDrained(let index, let away): "worker \(index) is drained, away for \(away) ms"
      case .workerFrozen(let index, let duration): "worker \(index) is frozen for \(duration) ms"
      case .stepIsLong(let index, let duration): "worker \(index) takes \(duration) ms more for a step"
      case .stepsFail(let index, let count): "\(count) steps of worker \(index) throw"
      case .bitFlips(let index): "a bit of worker \(index)'s next result flips"
      case .connectionCut(let party, let broker, let back):
        "the connection of \(party) is cut; the broker knows in \(broker) ms, it is back in \(back) ms"
      case .connectionStalls(let party, let direction, let duration):
        "nothing arrives \(direction == .up ? "from" : "at") \(party) for \(duration) ms"
      case .messageDoubled(let party, let direction): "the next message \(direction == .up ? "from" : "to") \(party) arrives twice"
      case .clientKilled(let index, let away): "client \(index) is killed, away for \(away) ms"
      case .visit(let index, _, let duration): "somebody looks at client \(index)'s job for \(duration) ms"
      }
    return "\(time) ms: \(what)"
  }
}
