import LocalFleet
import Testing
import Wire
import weir

@Suite struct SampleListTests {
  @Test func labels() throws {
    #expect(try SampleList.labels("clay") == ["clay"])
    #expect(try SampleList.labels("3") == ["3"])
    #expect(try SampleList.labels("clay, moss,7") == ["clay", "moss", "7"])
    #expect(try SampleList.labels("all") == ["all"])
    let runs = SampleList.runs(labels: ["clay", "7"], seed: 5, count: 3)
    #expect(runs == [SampleRun(label: "clay", seed: 5, count: 3), SampleRun(label: "7", seed: 5, count: 3)])
  }

  @Test(arguments: ["", ",", "clay,", "clay,,moss", "clay,clay", "all,clay", " "])
  func labelsThatMakeNoSense(_ text: String) {
    #expect(throws: UsageError.self) { try SampleList.labels(text) }
  }

  @Test func aFileOfSamples() throws {
    let text = "label,seed\r\n# comment\nclay,7\nclay,8\n\nclay, 10\nmoss,11\n 3 ,18446744073709551615\n3,0\n"
    #expect(
      try SampleList.runs(csv: text, name: "list.csv") == [
        SampleRun(label: "clay", seed: 7, count: 2), SampleRun(label: "clay", seed: 10), SampleRun(label: "moss", seed: 11),
        SampleRun(label: "3", seed: .max, count: 2),
      ])
  }

  @Test(arguments: [
    "", "label,seed\n", "clay", "clay,7,8", ",7", "clay,-1", "clay,x", "clay,18446744073709551616", "clay,7\nlabel,seed",
  ])
  func filesThatMakeNoSense(_ text: String) {
    let error = #expect(throws: UsageError.self) { try SampleList.runs(csv: text, name: "list.csv") }
    #expect(error?.message.contains("list.csv") == true)
  }

  @Test func aFileThatIsNotThere() {
    let error = #expect(throws: UsageError.self) { try SampleList.runs(file: "/nonexistent/list.csv") }
    #expect(error?.message.contains("/nonexistent/list.csv") == true)
  }

  @Test func aLineThatMakesNoSenseIsNamed() {
    let error = #expect(throws: UsageError.self) { try SampleList.runs(csv: "clay,1\n\nmoss;2", name: "list.csv") }
    #expect(error?.message.contains("line 3") == true)
  }
}

@Suite struct StageOptionListTests {
  @Test func everyFlag() throws {
    let options = try StageOptionList.parse(
      steps: ["base32=20,sr64=15", "sr256=5"], sampler: ["ddim,sr64=ddpm"], eta: ["sr256=0.5"], aug: ["sr64=100"],
      guidance: ["2,sr64=1.5"])
    #expect(
      options == [
        StageOptions(stage: "", sampler: "ddim", guidance: 2), StageOptions(stage: "base32", steps: 20),
        StageOptions(stage: "sr64", steps: 15, sampler: "ddpm", aug: 100, guidance: 1.5), StageOptions(stage: "sr256", steps: 5, eta: 0.5),
      ])
    #expect(try StageOptionList.parse(steps: [], sampler: [], eta: [], aug: []).isEmpty)
  }

  @Test(arguments: [
    "20", "base32", "base32=", "=20", "base32=0", "base32=-1", "base32=x", "base32=20,", "base32=20,base32=21", "", "base32=4294967296",
  ])
  func stepsThatMakeNoSense(_ text: String) {
    let error = #expect(throws: UsageError.self) { try StageOptionList.parse(steps: [text], sampler: [], eta: [], aug: []) }
    #expect(error?.message.contains("--steps") == true)
  }

  @Test(arguments: ["nan", "-0.1", "101", "x", "sr64=", "2,3"])
  func guidanceThatMakesNoSense(_ text: String) {
    let error = #expect(throws: UsageError.self) {
      try StageOptionList.parse(steps: [], sampler: [], eta: [], aug: [], guidance: [text])
    }
    #expect(error?.message.contains("--guidance") == true)
  }

  @Test(arguments: ["nan", "-0.1", "1.1", "x", "sr64=", "0.5,0.6"])
  func etaThatMakesNoSense(_ text: String) {
    let error = #expect(throws: UsageError.self) { try StageOptionList.parse(steps: [], sampler: [], eta: [text], aug: []) }
    #expect(error?.message.contains("--eta") == true)
  }

  @Test func workers() throws {
    let stages = ["base32", "sr64"]
    #expect(try WorkerList.parse([], stages: stages).map(\.count) == [1, 1])
    #expect(try WorkerList.parse(["sr64=3"], stages: stages).map(\.count) == [1, 3])
    #expect(try WorkerList.parse(["sr64=0,base32=2"], stages: stages).map(\.count) == [2, 0])
    let shared = try WorkerList.parse(["sr64+base32=2,sr64=1"], stages: stages + ["sr256"])
    #expect(shared.map(\.stages) == [["base32", "sr64"], ["sr64"], ["sr256"]] && shared.map(\.count) == [2, 1, 1])
    for text in ["sr65=1", "sr64", "sr64=-1", "sr64=1000000", "sr64=1,sr64=2", "sr64+=1", "sr64+sr64=1", "base32+sr65=1"] {
      #expect(throws: UsageError.self, "\(text)") { try WorkerList.parse([text], stages: stages) }
    }
  }
}
