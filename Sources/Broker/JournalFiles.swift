import Foundation

/// A journal's two files as they lie on the disk, read without SQLite: for journals that SQLite can't read any more, or would misread.
struct JournalFiles {
  /// What the files say the journal was at one moment or another. Of an undamaged journal the last three are one.
  enum State: Hashable {
    /// The file without its log.
    case file
    /// What SQLite finds: the log goes as far as the last commit before anything damaged.
    case found
    /// Behind damage too: nothing is written after a commit that failed, so a commit behind damage was acknowledged.
    case committed
    /// With what the log has of a commit of which the rest is missing.
    case begun
  }

  let database: Data
  let log: Data
  let frames: LogFrames
  /// Numbers of the last commits that the file has, and that are there in whole with the log.
  private var turns: (file: Int64, committed: Int64) = (0, 0)

  init(_ journalPath: String) {
    database = (try? Data(contentsOf: URL(fileURLWithPath: journalPath), options: .alwaysMapped)) ?? Data()
    log = (try? Data(contentsOf: URL(fileURLWithPath: journalPath + "-wal"), options: .alwaysMapped)) ?? Data()
    frames = LogFrames(log, pageSize: JournalPages.pageSize)
    turns = (pages(.file).turn, pages(.committed).turn)
  }

  var isEmpty: Bool { database.isEmpty && log.isEmpty }

  func pages(_ state: State) -> JournalPages { JournalPages(self, state) }

  /// The log has a part of a commit that was acknowledged.
  func breaksOff(_ marked: JournalMark.Reading) -> Bool {
    guard frames.all.count > frames.found, let turn = marked.turn else { return false }
    return turn > max(turns.file, turns.committed)
  }

  /// The file has commits that its log lacks. A log goes only when the file has all of it, and then as a whole.
  var isLogCut: Bool { !frames.all.isEmpty && turns.file > turns.committed }

  /// What to build a journal from that is at least what SQLite would find: its rows in the newest of these states that has them.
  ///
  /// A state that is not of one moment has lost rows that were moved from one page to another: the one page is of after that, the other of
  /// before. So the states before it count too.
  func states(_ marked: JournalMark.Reading) -> [State] {
    var states: [State] = []
    if isLogCut { states.append(.file) }
    if breaksOff(marked) { states.append(.begun) }
    states.append(.committed)
    if frames.found < frames.committed { states.append(.found) }
    return states
  }
}
