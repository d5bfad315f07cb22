import ArgumentParser
import Glibc
import Load

/// Part of `weir-load chaos`: a trap must not run in the process that started its victim.
struct TrapCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trap", abstract: "Strikes at a broker's system call.", shouldDisplay: false)

  @Option var process: Int32
  @Option var call: CallTrap.Call
  @Option var count = 1
  @Option var moment = CallTrap.Moment.before
  @Flag var kill = false
  @Option var losePower: UInt64?
  @Option var refuse: Int32?

  private static let patienceSeconds: UInt32 = 120

  func validate() throws {
    guard count >= 1 else { throw ValidationError("--count \(count): give at least 1.") }
    guard [kill, losePower != nil, refuse != nil].count(where: { $0 }) == 1 else {
      throw ValidationError("Give one of --kill, --lose-power and --refuse.")
    }
  }

  func run() throws {
    let effect: CallTrap.Effect =
      if let losePower { .losePower(seed: losePower) } else if let refuse { .refuse(errno: refuse) } else { .kill }
    try CallTrap(process, at: call, count: count, moment, effect: effect).run(seconds: Self.patienceSeconds) {
      print(CallTrap.watching)
      fflush(nil)
    }
  }
}

extension CallTrap.Call: ExpressibleByArgument {}
extension CallTrap.Moment: ExpressibleByArgument {}
