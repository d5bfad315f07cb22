import LocalFleet
import Testing

@Suite struct LocalFleetTests {
  @Test func aProcessThatNeverWorkedIsGivenUp() {
    var policy = RestartPolicy()
    #expect(policy.ended(.exited(1), wasReady: false, after: .seconds(100)) == .giveUp)
    policy = RestartPolicy()
    #expect(policy.ended(.exited(0), wasReady: false, after: .seconds(1)) == .giveUp)
  }

  @Test func signalsBeforeItWasReadyAreForgivenSomeTimes() {
    var policy = RestartPolicy()
    let decisions = (0..<RestartPolicy.fatalSignals).map { _ in policy.ended(.signalled(9), wasReady: false, after: .seconds(1)) }
    #expect(decisions.dropLast().allSatisfy { $0 != .giveUp })
    #expect(decisions.last == .giveUp)
  }

  @Test func pausesDoubleUntilItIsWellAgain() {
    var policy = RestartPolicy()
    let pauses = (0..<7).map { _ in policy.ended(.exited(1), wasReady: true, after: .seconds(1)) }
    #expect(pauses == [1, 2, 4, 8, 16, 30, 30].map { .restart(after: .seconds($0)) })
    #expect(policy.ended(.signalled(11), wasReady: false, after: .seconds(60)) == .restart(after: .seconds(30)))
    #expect(policy.ended(.signalled(9), wasReady: true, after: .seconds(60)) == .restart(after: .seconds(1)))
    #expect(policy.ended(.exited(0), wasReady: true, after: .seconds(1)) == .restart(after: .seconds(2)))
  }

  @Test func missingProgramsAreNamed() {
    let plan = FleetPlan(
      executables: "/nonexistent", bind: "tcp://127.0.0.1:7710", data: "/tmp", engine: .synthetic(stepMilliseconds: 1), workers: [])
    let error = #expect(throws: FleetError.self) { try LocalFleet(plan) { _ in } }
    #expect(error?.code == .missing)
    #expect(error?.message.contains("/nonexistent/weir") == true)
  }

  @Test func aFolderThatIsNoPipeline() {
    let error = #expect(throws: FleetError.self) { try pipelineStages("/nonexistent") }
    #expect(error?.code == .pipeline)
    #expect(error?.message.contains("/nonexistent/cascade.json") == true)
  }
}
