import Foundation
import SeededRandom
import Tensors
import Testing

/// Files that `torch.save` wrote, whole, damaged and hostile.
struct TorchCheckpointTests {
  private let folder: String

  init() throws { folder = try #require(Bundle.module.url(forResource: "Goldens", withExtension: nil)?.path) }

  private func open(_ bytes: Data) throws -> TorchCheckpoint {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).pt").path
    try bytes.write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    let checkpoint = try TorchCheckpoint.open(path)
    for name in checkpoint.names { _ = try? checkpoint.tensor(named: name) }
    return checkpoint
  }

  private func bytes(_ name: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name).pt")) }

  @Test(arguments: ["base", "upsampler"]) func bothContainersAreRead(name: String) throws {
    let checkpoint = try TorchCheckpoint.open("\(folder)/\(name).pt")
    #expect(checkpoint.names.contains("out.2.weight") && checkpoint.names.count > 50)
    let weight = try checkpoint.tensor(named: "time_embed.0.weight")
    #expect(weight.shape == [32, 8])
    #expect(try weight.floats().contains { $0 != 0 })
  }

  /// Nothing is promised but that it ends with a tensor or with an error.
  @Test(arguments: ["base", "upsampler"]) func damageIsAnError(name: String) throws {
    var random = SplitMix64(seed: 20_261_123)
    let whole = try bytes(name)
    for _ in 0..<60 {
      var damaged = whole
      // Where the pickle is: near one end or the other.
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        let place =
          Bool.random(using: &random) ? Int.random(in: 0..<20_000, using: &random) : Int.random(in: 0..<damaged.count, using: &random)
        damaged[place] = UInt8.random(in: 0...255, using: &random)
      }
      if Bool.random(using: &random) { damaged = damaged.prefix(Int.random(in: 0...damaged.count, using: &random)) }
      _ = try? open(damaged)
    }
  }

  /// The older container around a pickle of one's own.
  private func file(_ pickle: [UInt8]) -> Data {
    let magic: [UInt8] = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e]
    let version: [UInt8] = [0x80, 0x02, 0x4d, 0xe9, 0x03, 0x2e]
    let machine: [UInt8] = [0x80, 0x02, 0x7d, 0x2e]
    let keys: [UInt8] = [0x80, 0x02, 0x5d, 0x2e]
    return Data(magic + version + machine + [0x80, 0x02] + pickle + keys)
  }

  private func complaint(_ pickle: [UInt8]) -> String {
    do {
      _ = try open(file(pickle))
      return "none"
    } catch { return "\(error)" }
  }

  @Test func nothingIsRun() {
    // {"b": os.system("touch …")}
    let call = Array("}U\u{1}bcposix\nsystem\n(U\u{7}touch xtRs.".utf8)
    #expect(complaint(call).contains("posix.system"))
    // An operation that makes an object of any class.
    #expect(complaint(Array("}U\u{1}bcposix\nsystem\n)".utf8) + [0x81] + Array("s.".utf8)).contains("0x81"))
  }

  @Test func strangePicklesAreErrors() {
    #expect(complaint(Array("N.".utf8)).contains("no table of tensors"))
    #expect(complaint(Array("}.".utf8)).contains("holds no tensors"))
    #expect(complaint(Array("}K\u{1}K\u{2}s.".utf8)).contains("key is no text"))
    #expect(complaint(Array("}U\u{1}aK\u{2}s.".utf8)).contains("entry 'a' is no tensor"))
    #expect(complaint(Array("s.".utf8)).contains("without its operands"))
    #expect(complaint(Array("t.".utf8)).contains("without its mark"))
    #expect(complaint(Array("h\u{5}.".utf8)).contains("was not stored"))
    #expect(complaint(Array("X".utf8) + [255, 255, 255, 127]).contains("ends in the middle"))
    // Tuples in tuples, and lists in lists, a hundred thousand deep: the first are refused, the others freed one by one.
    #expect(complaint([UInt8](repeating: UInt8(ascii: "N"), count: 1) + [UInt8](repeating: 0x85, count: 100_000) + [0x2e]).contains("deep"))
    let lists = [UInt8](repeating: UInt8(ascii: "]"), count: 100_000) + [UInt8](repeating: UInt8(ascii: "a"), count: 99_999) + [0x2e]
    #expect(complaint(lists).contains("no table of tensors"))
  }

  @Test func anotherFileIsNone() throws {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).pt").path
    #expect(throws: TorchCheckpoint.Failure.self) { try TorchCheckpoint.open(path) }
    #expect(throws: TorchCheckpoint.Failure.self) { try open(Data("no checkpoint".utf8)) }
    #expect(throws: TorchCheckpoint.Failure.self) { try open(Data([0x50, 0x4b, 0x03, 0x04])) }
  }
}
