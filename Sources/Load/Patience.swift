import Client
import Wire

/// Asks again as long as the broker says to come back later.
func patiently<Answer>(
  isolation: isolated (any Actor)? = #isolation, _ ask: () async throws -> Answer
) async throws -> Answer {
  while true {
    do { return try await ask() } catch let error as ClientError {
      guard error.refusal?.code == .overloaded, let pause = error.refusal?.retryAfterMilliseconds else { throw error }
      try await Task.sleep(for: .milliseconds(pause))
    }
  }
}
