import Dispatch
import Foundation
import Synchronization
import Tensors
import Testing
import UNet

@testable import Training

/// Processes that train together. Here they are threads, which share nothing but LibTorch; FleetTests has real ones.
@Suite(.serialized) struct ProcessesTests {
  private static let labels = ["a", "b"]

  /// What each rank's `body` gives.
  private func together<Value: Sendable>(
    _ world: Int, _ body: @escaping @Sendable (ProcessPlace) throws -> Value
  ) throws -> [Result<Value, any Error>] {
    let master = try ProcessPlace.masterOnThisMachine()
    let results = Mutex<[Int: Result<Value, any Error>]>([:])
    let running = DispatchGroup()
    for rank in 0..<world {
      running.enter()
      Thread.detachNewThread {
        let result = Result { try body(ProcessPlace(rank: rank, world: world, master: master)) }
        results.withLock { $0[rank] = result }
        running.leave()
      }
    }
    running.wait()
    return try results.withLock { results in try (0..<world).map { try #require(results[$0]) } }
  }

  private func recipe(batch: Int) -> Recipe {
    var recipe = Recipe(batch: batch)
    recipe.warmup = 10
    recipe.labelDrop = 0.3
    return recipe
  }

  private func folder() throws -> TemporaryFolder {
    let folder = try TemporaryFolder()
    try makeData(in: "\(folder.path)/data", labels: Self.labels, count: 3, side: 16)
    return folder
  }

  @Test func twoEqualOneWithTwiceTheBatch() throws {
    let folder = try folder()
    let (setting, network) = (try tinySetting(side: 8), try tinyNetwork(side: 8, channels: 64, mult: [1]))
    let whole = try tinyTrainer(folder, run: "whole", setting: setting, network: network, recipe: recipe(batch: 4)) { $0.maxSteps = 50 }
    try whole.run { false }
    let recipe = recipe(batch: 2)
    let messages = [Messages(), Messages()]
    let both = try together(2) { place in
      let trainer = try tinyTrainer(
        folder, run: "rank\(place.rank)", setting: setting, network: network, recipe: recipe, messages: messages[place.rank]
      ) {
        $0.maxSteps = 50
        $0.place = place
      }
      try trainer.run { false }
      return try weights(trainer)
    }.map { try $0.get() }
    #expect(both[0] == both[1])
    #expect(try distance(both[0], weights(whole)) < 1e-5)
    #expect(try agree(metrics(folder, run: "whole"), metrics(folder, run: "rank0")))
    // The first one alone writes and reports.
    let files = FileManager.default
    #expect(files.fileExists(atPath: "\(folder.path)/rank0/checkpoint.safetensors"))
    #expect(files.fileExists(atPath: "\(folder.path)/rank0/metrics.jsonl"))
    #expect(try files.contentsOfDirectory(atPath: "\(folder.path)/rank1") == ["pixels-8.cache"])
    #expect(messages[0].all.contains { $0.contains("4 a step, 2 processes") } && messages[1].all.isEmpty)
  }

  @Test func theyGoOnFromACheckpoint() throws {
    let folder = try folder()
    let recipe = recipe(batch: 1)
    func train(_ run: String, until steps: Int, resume: Bool = false) throws -> [[Float]] {
      try together(2) { place in
        let trainer = try tinyTrainer(folder, run: run, recipe: recipe) {
          $0.maxSteps = 6
          $0.resume = resume
          $0.place = place
        }
        // One that is asked to stop stops all.
        try trainer.run { place.rank == 1 && trainer.state.step == steps }
        #expect(trainer.state.step == steps)
        return try weights(trainer)
      }.map { try $0.get() }
    }
    let straight = try train("straight", until: 6)
    let half = try train("parts", until: 3)
    let parts = try train("parts", until: 6, resume: true)
    #expect(parts == straight && parts[0] == parts[1] && parts[0] != half[0])
  }

  @Test func whatDiffersIsNamed() throws {
    let folder = try folder()
    let recipe = recipe(batch: 1)
    let results = try together(2) { place in
      var own = recipe
      if place.rank == 1 { own.learningRate = 1e-3 }
      let trainer = try tinyTrainer(folder, run: "rank\(place.rank)", recipe: own) {
        $0.maxSteps = 1
        $0.place = place
      }
      try trainer.run { false }
    }
    for result in results {
      let error = #expect(throws: TrainingError.self) { try result.get() }
      #expect(error?.code == .processes && error?.message.contains("rank 1 has other flags") == true)
    }
  }

  @Test func oneThatIsGoneFailsTheOthers() throws {
    let results = try together(3) { place in
      let group = try ProcessGroup(host: place.host, port: place.port, rank: place.rank, count: 3, timeout: .seconds(60))
      #expect(try group.gather(Double(place.rank)) == [0, 1, 2])
      guard place.rank != 1 else { return [Double]() }
      return try group.gather(0)
    }
    #expect(throws: Never.self) { try results[1].get() }
    for rank in [0, 2] {
      let error = #expect(throws: TorchError.self) { try results[rank].get() }
      #expect(error?.message.lowercased().contains("time") == false, "it should not have waited: \(error?.message ?? "")")
    }
  }

  @Test func nobodyWaitsForEver() throws {
    let place = try ProcessPlace(rank: 0, world: 2, master: ProcessPlace.masterOnThisMachine())
    let error = #expect(throws: TrainingError.self) {
      try tinyTrainer(folder()) {
        $0.place = place
        $0.patience = .milliseconds(200)
      }
    }
    #expect(error?.code == .processes && error?.message.contains("did not meet at 127.0.0.1, port \(place.port)") == true)
  }

  @Test func placesAreChecked() throws {
    let place = try ProcessPlace(rank: 2, world: 3, master: "[::1]:29500")
    #expect(place.host == "::1" && place.port == 29500)
    for (rank, world, master, message) in [
      (0, 1, "a:1", "--world 1"), (3, 3, "a:1", "--rank 3: 0 to 2"), (-1, 2, "a:1", "--rank -1"), (0, 2, "a", "--master a"),
      (0, 2, ":1", "--master :1"), (0, 2, "a:0", "--master a:0"), (0, 2, "a:70000", "--master a:70000"),
    ] {
      let error = #expect(throws: TrainingError.self) { try ProcessPlace(rank: rank, world: world, master: master) }
      #expect(error?.message.contains(message) == true)
    }
  }

  @Test func sharesMakeTheStep() {
    let shares = (0..<3).map { StepShare(batch: 2, accumulate: 2, rank: $0, world: 3) }
    #expect(shares.map { $0.firsts(from: 24) } == [[24, 26], [28, 30], [32, 34]])
    #expect(shares.allSatisfy { $0.examples == 12 })
    let numbers = (0..<2).flatMap { step in shares.flatMap { share in (0..<2).map { share.number(ofBatch: $0, step: step) } } }
    #expect(numbers == Array(0..<12))
  }
}
