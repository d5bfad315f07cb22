import Client
import Foundation
import Wire

/// Waits for a job and saves its images as they finish.
struct JobFollower {
  let client: WeirClient
  let job: JobID
  /// `nil`: images stay with the broker.
  let folder: ImageFolder?
  var reporter: JobReporter
  private var saved: Set<UInt32> = []
  /// What will never be there, as far as the broker knows.
  private var missing: Set<UInt32> = []
  private var sheet = ContactSheet()

  /// Images under way at a time.
  private static let fetches = 4
  /// Samples that are asked for without knowing whether they are finished, at a time.
  private static let guesses = 64

  init(client: WeirClient, job: JobID, folder: ImageFolder?, reporter: JobReporter) {
    self.client = client
    self.job = job
    self.folder = folder
    self.reporter = reporter
  }

  /// - Returns: The job's final state, or the one in which it waits for a choice.
  mutating func run() async throws -> JobStatus {
    var last: JobStatus?
    var lookedAt: UInt32 = 0
    for try await status in client.watch(job) {
      last = status
      try reporter.progress(status)
      if status.state == .held { break }
      if folder != nil, status.finishedSamples > lookedAt, let full = try await withSamples(status) {
        lookedAt = full.finishedSamples
        try await save(listed(in: full), of: full)
        try await saveUnlisted(of: full)
      }
    }
    // A stream whose task was cancelled ends without an error.
    try Task.checkCancellation()
    guard let last else { throw Failure("the watch of job \(job) ended before it began") }
    if last.state == .held, let stage = last.holdAfter {
      if let full = try await withSamples(last) { try await saveDrafts(full, after: stage) }
      return last
    }
    try await saveFinished(last)
    return last
  }

  /// Saves finished samples behind those that a status lists, which are the first ones of a large job: they can only be asked for, and finish
  /// about in order.
  private mutating func saveUnlisted(of status: JobStatus) async throws {
    var known = -1
    while saved.count + missing.count > known, saved.count < status.finishedSamples {
      known = saved.count + missing.count
      let open = (UInt32(clamping: status.details.count)..<status.samples).lazy.filter { [saved, missing] in
        !saved.contains($0) && !missing.contains($0)
      }
      try await save(Array(open.prefix(Self.guesses)), of: status, skippingUnfinished: true)
    }
  }

  /// Saves what is finished and not saved yet, and the contact sheet.
  ///
  /// - Returns: How many images were saved, now and before.
  @discardableResult
  mutating func saveFinished(_ status: JobStatus) async throws -> Int {
    guard let folder else { return 0 }
    try await save(listed(in: status), of: status)
    // The status lists only the first samples of a large job; those after them can only be asked for.
    let listed = UInt32(clamping: status.details.count)
    if listed < status.samples { try await save(Array(listed..<status.samples), of: status, skippingUnfinished: true) }
    if let content = sheet.content {
      reporter.note("contact sheet: \(try folder.saveContactSheet(content.images, columns: content.columns))")
    }
    return saved.count
  }

  /// Saves the outputs of a stage that is not the last, of samples that wait there or are in the next, and a contact sheet.
  ///
  /// - Returns: How many were saved.
  @discardableResult
  mutating func saveDrafts(_ status: JobStatus, after stage: String) async throws -> Int {
    guard folder != nil else { return 0 }
    try await save(Array(0..<status.samples), of: status, stage: stage, skippingUnfinished: true)
    if let folder, let content = sheet.content {
      reporter.note("contact sheet: \(try folder.saveContactSheet(content.images, columns: content.columns))")
    }
    return saved.count
  }

  /// Events between the first and the last come without samples and options: these have to be asked for.
  ///
  /// - Returns: `nil` if the broker doesn't answer, which is for the watch to judge.
  private func withSamples(_ status: JobStatus) async throws -> JobStatus? {
    if !status.details.isEmpty { return status }
    do throws(ClientError) {
      return try await client.status(of: job)
    } catch {
      guard error.code == .unreachable else { throw error }
      return nil
    }
  }

  private enum Answer: Sendable {
    case image(FinishedImage)
    case notYet
    case never(UInt32)
  }

  private func listed(in status: JobStatus) -> [UInt32] {
    folder == nil ? [] : status.details.filter { $0.state == .done }.map(\.index)
  }

  private mutating func save(
    _ indexes: [UInt32], of status: JobStatus, stage: String = "", skippingUnfinished: Bool = false
  ) async throws {
    let indexes = indexes.filter { !saved.contains($0) }
    for start in stride(from: 0, to: indexes.count, by: Self.fetches) {
      let (client, job) = (client, job)
      let batch = indexes[start..<min(start + Self.fetches, indexes.count)]
      let answers = try await withThrowingTaskGroup(of: Answer.self) { group in
        for index in batch {
          group.addTask {
            do throws(ClientError) {
              return .image(try await client.fetch(job, sample: index, stage: stage))
            } catch {
              guard skippingUnfinished, let code = error.refusal?.code else { throw error }
              if code == .notReady { return .notYet }
              guard code == .notFound else { throw error }
              return .never(index)
            }
          }
        }
        return try await group.reduce(into: [Answer]()) { $0.append($1) }
      }
      for case .never(let index) in answers { missing.insert(index) }
      let images = answers.compactMap { if case .image(let image) = $0 { image } else { nil } }
      for image in images.sorted(by: { $0.sample < $1.sample }) {
        guard let folder else { continue }
        let pixels = try ImageFolder.decode(image)
        let path = try folder.save(pixels, image, of: status, stage: stage)
        sheet.add(pixels, sample: image.sample, label: image.label)
        saved.insert(image.sample)
        try reporter.saved(image, labelName: status.labelName(image.label), at: path)
      }
    }
  }
}
