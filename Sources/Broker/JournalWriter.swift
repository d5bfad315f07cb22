import Digests
import Foundation
import Wire
import ZeroMQ

/// A sample's state on disk, as far as it differs from that of a sample nobody has touched.
struct SampleState {
  var stage: UInt32 = 0
  var attempt: UInt32 = 0
  var failures: UInt32 = 0
  var isLeased = false
  var error: String?
  var checkpoint: CheckpointRecord?
  /// It changed in this turn, and is written at the turn's end.
  var isDirty = false
}

/// Turns records into rows. It keeps in memory where each job's rows are and the states of samples that have one, so that nothing has to be
/// read to be changed.
struct JournalWriter {
  /// Rows, or 4 KiB pages of tensors, that are deleted in a turn beside its other work.
  private static let purgeBudget = 4_096

  private let pipelines: RowWriter
  private let pipelineCopies: RowWriter
  private let jobs: RowWriter
  private let endings: RowWriter
  private let samples: RowWriter
  private let outputs: RowWriter
  private let checkpoints: RowWriter
  private let turns: RowWriter
  private let choices: RowWriter
  private let attempts: RowWriter
  private let quarantines: RowWriter
  private let pardon: SQLStatement
  private let dropOutputData: SQLStatement
  private let dropInputs: SQLStatement
  private let forgetPipeline: [SQLStatement]
  /// Where tensors lie that are about to go.
  private let tensorPlaces: (outputs: SQLStatement, inputs: SQLStatement, checkpoints: SQLStatement)
  private let purgeRows:
    (
      samples: SQLStatement, outputs: SQLStatement, checkpoints: SQLStatement, jobs: SQLStatement, endings: SQLStatement,
      attempts: SQLStatement, choices: SQLStatement
    )

  /// Of every job on disk.
  private var places: [JobID: JobPlace]
  /// By the sample's number.
  private var states: [Int64: SampleState]
  /// What was forgotten and is being deleted, in slices.
  private var purging: [Purge]
  private var nextRow: Int64
  private var nextSample: Int64
  /// Number of the last commit.
  private(set) var turn: Int64

  /// Something was deleted since somebody looked whether the file can shrink.
  var hasDeleted = false

  private let tensorFiles: TensorFiles
  private var mover: TensorMover

  private var dirty: [Int64] = []
  /// Most jobs have the options of the one before, most tensors the shape.
  private var lastOptions: (value: [StageOptions], text: String) = ([], "[]")
  private var lastShape: (value: [UInt32], text: String) = ([], "")

  /// - Parameter contents: what is on disk.
  init(_ connection: SQLConnection, _ tensorFiles: TensorFiles, _ contents: JournalReader.Contents) throws {
    self.tensorFiles = tensorFiles
    tensorFiles.use(contents.tensorPlaces)
    mover = try TensorMover(connection, tensorFiles)
    self.places = contents.places
    states = contents.states
    purging = contents.purging
    nextRow = contents.nextRow
    nextSample = contents.nextSample
    turn = contents.turn
    pipelines = try RowWriter(.pipeline, connection)
    pipelineCopies = try RowWriter(.pipelineCopy, connection)
    jobs = try RowWriter(.job, connection)
    endings = try RowWriter(.ending, connection)
    samples = try RowWriter(.sample, connection)
    outputs = try RowWriter(.output, connection)
    checkpoints = try RowWriter(.checkpoint, connection)
    turns = try RowWriter(.turn, connection)
    choices = try RowWriter(.choice, connection)
    attempts = try RowWriter(.attempt, connection)
    quarantines = try RowWriter(.quarantine, connection)
    pardon = try SQLStatement(connection, "DELETE FROM quarantine WHERE name = ? AND boot = ?")
    dropOutputData = try SQLStatement(connection, "UPDATE output SET data = NULL WHERE id = ?")
    dropInputs = try SQLStatement(
      connection, "UPDATE output SET data = NULL WHERE id BETWEEN ? AND ? AND (id & 7) < ? AND data IS NOT NULL")
    forgetPipeline = try [JournalTable.pipeline, .pipelineCopy].map { table in
      try SQLStatement(connection, "DELETE FROM \(table.name) WHERE digest = ?")
    }
    func purge(_ table: JournalTable) throws -> SQLStatement {
      try SQLStatement(connection, "DELETE FROM \(table.name) WHERE id BETWEEN ? AND ?")
    }
    func places(of table: JournalTable, _ condition: String = "") throws -> SQLStatement {
      try SQLStatement(connection, table.placesQuery(where: "id BETWEEN ? AND ?" + condition))
    }
    tensorPlaces = try (places(of: .output), places(of: .output, " AND (id & 7) < ?"), places(of: .checkpoint))
    purgeRows = try (purge(.sample), purge(.output), purge(.checkpoint), purge(.job), purge(.ending), purge(.attempt), purge(.choice))
  }

  // MARK: Turns

  /// All of it belongs into one transaction.
  mutating func write(_ records: some Sequence<Record>) throws {
    turn += 1
    for record in records { try write(record) }
    for sample in dirty where states[sample]?.isDirty == true {
      states[sample]?.isDirty = false
      if let state = states[sample] { try write(state, sample) }
    }
    dirty.removeAll(keepingCapacity: true)
    try purge()
    turns.begin(1)
    turns.add(turn)
    try turns.finish()
  }

  private mutating func write(_ record: Record) throws {
    switch record {
    case .pipeline(let info):
      for table in [pipelines, pipelineCopies] {
        table.begin(nextRow)
        table.add(info.digest)
        table.add(info.name)
        table.add(try journalText(info.labels))
        table.add(try journalText(info.stages.map(StageRow.init)))
        try table.finish()
      }
      nextRow += 1
    case .pipelineForgotten(let digest):
      for statement in forgetPipeline {
        digest.withUnsafeBytes { statement.bind(1, blob: $0) }
        try statement.run()
      }
    case .accepted(let job): try accept(job)
    case .leased(let ref):
      try change(ref.task) {
        $0.attempt = ref.attempt
        $0.isLeased = true
      }
    case .released(let task, let failures):
      try change(task) {
        $0.failures = failures
        $0.isLeased = false
      }
    case .failuresCounted(let task, let failures): try change(task) { $0.failures = failures }
    case .checkpoint(let task, let checkpoint, let tensors): try keep(checkpoint, tensors, of: task)
    case .checkpointDropped(let task):
      try dropCheckpoint(try number(task.job, task.sample))
      try change(task) { $0.checkpoint = nil }
    case .stageDone(let task, let outcome, let output): try finish(task, outcome, output, isWritten: true)
    case .draftDone(let task, let outcome, let output): try finish(task, outcome, output, isWritten: false)
    case .draftKept(let task, let outcome, let output): try write(output, outcome, of: task, isWritten: true)
    case .sampleFailed(let job, let sample, let reason):
      let number = try number(job, sample)
      try dropCheckpoint(number)
      // Its input stays, in case it is tried again.
      try change(TaskID(job: job, sample: sample, stage: states[number]?.stage ?? 0)) {
        $0.error = reason
        $0.isLeased = false
        $0.checkpoint = nil
      }
    case .restarted(let ref):
      let number = try number(ref.task.job, ref.task.sample)
      try dropCheckpoint(number)
      try purgeOutputs(JobPlace.output(number, 0)...JobPlace.output(number + 1, 0) - 1)
      states[number] = nil
      try change(ref.task) { $0.attempt = ref.attempt }
    case .finished(let job, let state, let unixMilliseconds): try end(job, state, unixMilliseconds)
    case .forgotten(let job): forget(job)
    case .chosen(let job, let cancelled): try choose(job, cancelled)
    case .retried(let job, let tasks): try retry(job, tasks)
    case .attempted(let job, let attempt): try add(attempt, to: job)
    case .quarantined(let name, let boot, let reason):
      quarantines.begin(nextRow)
      quarantines.add(name)
      quarantines.add(boot.journalValue)
      quarantines.add(reason)
      try quarantines.finish()
      nextRow += 1
    case .pardoned(var name, let boot):
      name.withUTF8 { pardon.bind(1, text: UnsafeRawBufferPointer($0)) }
      pardon.bind(2, boot.journalValue)
      try pardon.run()
    }
  }

  // MARK: Jobs

  private mutating func accept(_ job: JobRecord) throws {
    guard places[job.id] == nil else { throw JournalError(.writeFailed, "job \(job.id) is in the journal already") }
    let place = JobPlace(row: nextRow, first: nextSample, count: Int64(job.samples.count), stages: Int64(job.options.count))
    if job.options != lastOptions.value { lastOptions = (job.options, try journalText(job.options.map(OptionsRow.init))) }
    jobs.begin(place.row)
    jobs.add(job.id.rawValue.journalValue)
    jobs.add(job.sequence.journalValue)
    jobs.add(place.first)
    jobs.add(place.stages)
    jobs.add(job.pipeline)
    jobs.add(job.key)
    jobs.add(lastOptions.text)
    jobs.add(job.truncated ? 1 : 0 as Int64)
    jobs.add(job.submittedUnixMilliseconds.journalValue)
    jobs.add(SeedRuns.encode(job.samples))
    let terms = job.terms
    let usual = JobTerms()
    jobs.add(terms.tenant == usual.tenant ? nil : terms.tenant)
    jobs.add(terms.priority == usual.priority ? nil : Int64(terms.priority.journalCode))
    jobs.add(terms.deadlineUnixMilliseconds?.journalValue)
    jobs.add(terms.holdAfter.map(Int64.init))
    try jobs.finish()
    places[job.id] = place
    nextRow += 1
    nextSample += place.count
  }

  private mutating func end(_ job: JobID, _ state: JobState, _ unixMilliseconds: UInt64) throws {
    let place = try place(job)
    try writeEnding(place.row, state.journalCode, unixMilliseconds.journalValue)
    if state == .done { return try purgeRows.samples.run(place.samples.lowerBound, place.samples.upperBound) }
    if !states.isEmpty {
      for sample in place.samples {
        guard let state = states.removeValue(forKey: sample), state.isDirty else { continue }
        try write(state, sample)
      }
    }
    // After a restart what is left of them stays until the job is forgotten.
    if state == .cancelled || state == .expired { purging.append(Purge(cancelled: place)) }
  }

  private func writeEnding(_ row: Int64, _ state: Int?, _ unixMilliseconds: Int64) throws {
    endings.begin(row)
    endings.add(state.map(Int64.init))
    endings.add(unixMilliseconds)
    try endings.finish()
  }

  private mutating func choose(_ job: JobID, _ cancelled: [UInt32]) throws {
    choices.begin(try place(job).row)
    choices.add(cancelled.flatMap { sample in withUnsafeBytes(of: sample.littleEndian) { Array($0) } })
    try choices.finish()
    for sample in cancelled {
      let number = try number(job, sample)
      try dropCheckpoint(number)
      for stage in 0..<UInt32(places[job]?.stages ?? 0) { try dropOutput(JobPlace.output(number, stage)) }
      states[number] = nil
      try purgeRows.samples.run(number, number)
    }
  }

  private mutating func retry(_ job: JobID, _ tasks: [TaskRef]) throws {
    let row = try place(job).row
    try purgeRows.endings.run(row, row)
    for ref in tasks {
      try change(ref.task) {
        $0.attempt = ref.attempt
        $0.failures = 0
        $0.error = nil
      }
    }
  }

  private func add(_ attempt: Attempt, to job: JobID) throws {
    attempts.begin(JobPlace.attempt(try number(job, attempt.sample), attempt.stage, attempt.number))
    attempts.add(attempt.stage)
    attempts.add(attempt.number)
    attempts.add(attempt.worker)
    attempts.add(attempt.numerics)
    attempts.add(attempt.startedUnixMilliseconds.journalValue)
    attempts.add(attempt.endedUnixMilliseconds?.journalValue)
    attempts.add(Int64(attempt.state.journalCode))
    attempts.add(attempt.firstStep)
    attempts.add(attempt.lastStep)
    attempts.add(attempt.stepMilliseconds.map { Int64(min(max($0, 0), 1e12) * 1_000) })
    attempts.add(attempt.reason)
    try attempts.finish()
  }

  // MARK: Samples

  private func place(_ job: JobID) throws -> JobPlace {
    guard let place = places[job] else { throw JournalError(.writeFailed, "job \(job) is not in the journal") }
    return place
  }

  /// The ids of the attempts at a job's samples, from this one on.
  func attempts(_ job: JobID, from sample: UInt32) throws -> (first: Int64, ids: ClosedRange<Int64>) {
    let place = try place(job)
    let last = place.attempts.upperBound
    return (place.first, min((place.first + Int64(sample)) << JobPlace.attemptBits, last)...last)
  }

  func number(_ job: JobID, _ sample: UInt32) throws -> Int64 {
    let place = try place(job)
    guard sample < place.count else { throw JournalError(.writeFailed, "job \(job) has no sample \(sample) in the journal") }
    return place.first + Int64(sample)
  }

  /// The id of an output, if its job is not forgotten.
  func output(_ key: TensorKey) throws -> Int64? {
    places[key.job] == nil ? nil : JobPlace.output(try number(key.job, key.sample), key.stage)
  }

  /// The latest checkpoint of a task, and the ids of its tensors; `nil`: there is none.
  func checkpoint(_ task: TaskID) throws -> (record: CheckpointRecord, slots: ClosedRange<Int64>)? {
    let number = try number(task.job, task.sample)
    guard let state = states[number], state.stage == task.stage, let checkpoint = state.checkpoint else { return nil }
    return (checkpoint, JobPlace.checkpoints(number))
  }

  /// Changes the state of a sample in the task's stage. Of several changes in one turn only the last is written.
  private mutating func change(_ task: TaskID, _ body: (inout SampleState) -> Void) throws {
    let number = try number(task.job, task.sample)
    let wasDirty = change(number) { state in
      if state.stage != task.stage { state = SampleState(stage: task.stage, isDirty: state.isDirty) }
      body(&state)
    }
    if !wasDirty { dirty.append(number) }
  }

  /// - Returns: whether it was changed before in this turn.
  private mutating func change(_ number: Int64, _ body: (inout SampleState) -> Void) -> Bool {
    func apply(_ state: inout SampleState) -> Bool {
      defer { state.isDirty = true }
      body(&state)
      return state.isDirty
    }
    return apply(&states[number, default: SampleState()])
  }

  private func write(_ state: SampleState, _ number: Int64) throws {
    samples.begin(number)
    samples.add(turn)
    samples.add(state.stage)
    samples.add(state.attempt)
    samples.add(state.failures)
    samples.add(state.isLeased ? 1 : 0 as Int64)
    samples.add(state.error)
    samples.add((state.checkpoint?.step).map(Int64.init))
    samples.add(state.checkpoint?.numerics)
    samples.add(state.checkpoint?.bytes.journalValue)
    try samples.finish()
  }

  private mutating func finish(_ task: TaskID, _ outcome: StageOutcome, _ output: WireTensor, isWritten: Bool) throws {
    let number = try number(task.job, task.sample)
    try write(output, outcome, of: task, isWritten: isWritten)
    // The input and the checkpoint; the output takes their place. The sample's row is of a stage that is over, and says nothing any more.
    if task.stage > 0 { try dropOutput(JobPlace.output(number, task.stage - 1)) }
    try dropCheckpoint(number)
    let attempt = AttemptNumber.none(asIn: states[number]?.attempt ?? 0)
    states[number] = nil
    let next = TaskID(job: task.job, sample: task.sample, stage: task.stage + 1)
    if attempt > 0, Int64(next.stage) < places[task.job]?.stages ?? 0 { try change(next) { $0.attempt = attempt } }
  }

  private mutating func write(_ output: WireTensor, _ outcome: StageOutcome, of task: TaskID, isWritten: Bool) throws {
    outputs.begin(JobPlace.output(try number(task.job, task.sample), task.stage))
    outcome.digest.withUnsafeBytes { outputs.add($0) }
    outputs.add(outcome.numerics)
    outputs.add(outcome.bytes.journalValue)
    try finish(outputs, output, isWritten: isWritten)
    if isWritten, output.data.count < TensorFiles.leastBytes { places[task.job]?.bytes += Int64(output.data.count) }
  }

  private mutating func keep(_ checkpoint: CheckpointRecord, _ tensors: [WireTensor], of task: TaskID) throws {
    let number = try number(task.job, task.sample)
    try dropCheckpoint(number)
    for (slot, tensor) in zip(JobPlace.checkpoints(number), tensors) {
      checkpoints.begin(slot)
      checkpoints.add(task.stage)
      checkpoints.add(checkpoint.step)
      checkpoints.add(tensor.digest)
      try finish(checkpoints, tensor, isWritten: true)
    }
    try change(task) {
      $0.failures = 0
      $0.checkpoint = checkpoint
    }
  }

  private mutating func dropCheckpoint(_ number: Int64) throws {
    guard states[number]?.checkpoint != nil else { return }
    try purgeCheckpoints(JobPlace.checkpoints(number))
  }

  private mutating func dropOutput(_ id: Int64) throws {
    try releaseTensors(tensorPlaces.outputs, id...id)
    try dropOutputData.run(id)
  }

  private mutating func purgeOutputs(_ ids: ClosedRange<Int64>) throws {
    try releaseTensors(tensorPlaces.outputs, ids)
    try purgeRows.outputs.run(ids.lowerBound, ids.upperBound)
  }

  private mutating func purgeCheckpoints(_ ids: ClosedRange<Int64>) throws {
    try releaseTensors(tensorPlaces.checkpoints, ids)
    try purgeRows.checkpoints.run(ids.lowerBound, ids.upperBound)
  }

  /// What these rows point to will not be needed any more.
  private mutating func releaseTensors(_ places: SQLStatement, _ ids: ClosedRange<Int64>) throws {
    if tensorFiles.isUnused { return }
    places.bind(1, ids.lowerBound)
    places.bind(2, ids.upperBound)
    while try places.step() { tensorFiles.release(TensorPlace(journalValue: places.int(0))) }
  }

  private mutating func finish(_ row: RowWriter, _ tensor: WireTensor, isWritten: Bool) throws {
    if tensor.shape != lastShape.value { lastShape = (tensor.shape, ShapeText.encode(tensor.shape)) }
    row.add(tensor.name)
    row.add(Int64(tensor.dtype.journalCode))
    row.add(lastShape.text)
    guard isWritten else { return try row.finish(tensor: UnsafeRawBufferPointer(start: nil, count: 0)) }
    try tensor.data.withUnsafeBytes { bytes in
      if bytes.count >= TensorFiles.leastBytes, let place = try tensorFiles.append(bytes) {
        try row.finish(tensorAt: place)
      } else {
        try row.finish(tensor: bytes)
      }
    }
  }

  /// Moves some of the tensors of a file to the newest one.
  mutating func moveTensors(from file: Int64) throws { try mover.move(from: file) }

  // MARK: Forgetting

  var isPurging: Bool { !purging.isEmpty }

  private mutating func forget(_ job: JobID) {
    guard let place = places.removeValue(forKey: job) else { return }
    if !states.isEmpty { for sample in place.samples { states[sample] = nil } }
    // Neighbours go together: a few deletions for all of them.
    if purging.last?.isFollowed(by: place) == true {
      purging[purging.count - 1].append(place)
    } else {
      purging.append(Purge(place))
    }
  }

  /// Deletes some of what was forgotten. What remains is marked, for the case of a restart.
  private mutating func purge() throws {
    var budget = Self.purgeBudget
    while budget > 0, var purge = purging.first {
      hasDeleted = true
      let slice = purge.takeSlice(&budget)
      try purgeCheckpoints(slice.checkpoints)
      if let stages = purge.stagesOfCancelled {
        tensorPlaces.inputs.bind(3, stages - 1)
        try releaseTensors(tensorPlaces.inputs, slice.outputs)
        try dropInputs.run(slice.outputs.lowerBound, slice.outputs.upperBound, stages - 1)
      } else {
        try purgeRows.samples.run(slice.samples.lowerBound, slice.samples.upperBound)
        try purgeOutputs(slice.outputs)
        try purgeRows.attempts.run(slice.attempts.lowerBound, slice.attempts.upperBound)
      }
      if purge.count > 0 {
        purging[0] = purge
        continue
      }
      if purge.stagesOfCancelled == nil {
        try purgeRows.jobs.run(purge.rows.lowerBound, purge.rows.upperBound)
        try purgeRows.endings.run(purge.rows.lowerBound, purge.rows.upperBound)
        try purgeRows.choices.run(purge.rows.lowerBound, purge.rows.upperBound)
      }
      purging.removeFirst()
    }
    for index in purging.indices where !purging[index].isMarked {
      for row in purging[index].rows { try writeEnding(row, nil, 0) }
      purging[index].isMarked = true
    }
  }
}

/// The samples of a job as runs of consecutive seeds: 16 bytes each, little-endian label, count and first seed.
enum SeedRuns {
  static func encode(_ samples: [SampleSeed]) -> [UInt8] {
    var runs: [UInt8] = []
    var index = 0
    while index < samples.count {
      let first = samples[index]
      var count = 1
      while index + count < samples.count, samples[index + count] == SampleSeed(label: first.label, seed: first.seed &+ UInt64(count)) {
        count += 1
      }
      withUnsafeBytes(of: first.label.littleEndian) { runs += $0 }
      withUnsafeBytes(of: UInt32(count).littleEndian) { runs += $0 }
      withUnsafeBytes(of: first.seed.littleEndian) { runs += $0 }
      index += count
    }
    return runs
  }

  static func decode(_ bytes: UnsafeRawBufferPointer) -> [SampleSeed] {
    var samples: [SampleSeed] = []
    for run in 0..<bytes.count / 16 {
      let label = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 16 * run, as: UInt32.self))
      let count = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 16 * run + 4, as: UInt32.self))
      let seed = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 16 * run + 8, as: UInt64.self))
      for offset in 0..<UInt64(count) { samples.append(SampleSeed(label: label, seed: seed &+ offset)) }
    }
    return samples
  }
}
