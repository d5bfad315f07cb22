import Client
import Wire

/// The states of a watched job. The broker sends the newest every now and then: one may be the first that tells of several stages.
struct JobStates {
  private var coming: AsyncThrowingStream<JobStatus, any Error>.Iterator
  private var last: JobStatus?

  init(_ job: JobID, of client: WeirClient) { coming = client.watch(job).makeAsyncIterator() }

  /// The last state seen, if it fits, or else the next one that does.
  @discardableResult
  mutating func first(where fits: (JobStatus) -> Bool) async throws -> JobStatus {
    while true {
      if let last, fits(last) { return last }
      guard let next = try await coming.next(isolation: #isolation) else {
        throw Program.Unexpected(
          description: "the job ended without what the test waited for; its last state: \(String(describing: last))")
      }
      last = next
    }
  }
}
