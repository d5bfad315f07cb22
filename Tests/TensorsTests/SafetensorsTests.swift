import Foundation
import Tensors
import Testing

extension TensorsTests {
  @Suite struct SafetensorsFiles {
    /// A folder of the test's own, removed with this value's owner.
    final class Folder {
      let url: URL

      init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("safetensors-\(UUID())")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
      }

      deinit { try? FileManager.default.removeItem(at: url) }

      func path(_ name: String) -> String { url.appendingPathComponent(name).path }

      func write(_ bytes: [UInt8], _ name: String = "file.safetensors") throws -> String {
        try Data(bytes).write(to: url.appendingPathComponent(name))
        return path(name)
      }
    }

    let folder: Folder

    init() throws { folder = try Folder() }

    static func file(_ header: String, data: [UInt8] = [], length: UInt64? = nil) -> [UInt8] {
      withUnsafeBytes(of: (length ?? UInt64(header.utf8.count)).littleEndian, Array.init) + Array(header.utf8) + data
    }

    func code(_ bytes: [UInt8]) throws -> SafetensorsError.Code? {
      let path = try folder.write(bytes)
      do {
        _ = try Safetensors.open(path)
        return nil
      } catch {
        #expect(error.path == path)
        #expect(!error.message.isEmpty)
        return error.code
      }
    }

    @Test func roundTrip() throws {
      var numbers = SeededNumbers(seed: 40)
      let x = try numbers.tensor([2, 3, 4])
      let tensors: [(String, Tensor)] = [
        ("bytes", try Tensor([1, 2, 3] as [UInt8], shape: [3])),
        ("weight", x),
        ("half", try x.to(.bf16)),
        ("f16", try x.to(.f16)),
        ("double", try x.to(.f64)),
        ("flags", try x.clamp(min: 0, max: 1).to(.bool)),
        ("indices", try Tensor([-1, 1 << 40] as [Int64], shape: [2, 1])),
        ("scalar", try Tensor.full(2.5, shape: [])),
        ("empty", try Tensor.zeros(shape: [0, 3])),
        ("turned", try x.transpose(0, 2)),
        ("last", try x.reshape([1, 2, 3, 4]).channelsLast()),
        ("näme \"\\\n\u{1F600}", x),
      ]
      let metadata = ["format": "pt", "a\t\"b\"": "line\nline \u{1} ü"]
      let path = folder.path("a.safetensors")
      try Safetensors.write(tensors, metadata: metadata, to: path)
      let file = try Safetensors.open(path)
      #expect(file.metadata == metadata)
      #expect(Set(file.names) == Set(tensors.map(\.0)))
      for (name, tensor) in tensors {
        #expect(file.contains(name))
        let read = try file.tensor(named: name)
        #expect(read.shape == tensor.shape, "\(name)")
        #expect(try file.shape(of: name) == tensor.shape)
        #expect(try file.dtype(of: name) == tensor.dtype)
        #expect(try read.dtype == tensor.dtype)
        #expect(try read.bytes() == tensor.bytes(), "\(name)")
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["a.safetensors"])

      let again = folder.path("b.safetensors")
      try Safetensors.write(tensors, metadata: metadata, to: again)
      #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data(contentsOf: URL(fileURLWithPath: again)))
    }

    /// Bytes laid out by hand from the format's description.
    @Test func readsTheFormat() throws {
      let header =
        #"{"b":{"data_offsets":[8,12],"shape":[2],"dtype":"BF16"},"__metadata__":{"k":"v\u00e9\ud83d\ude00"},"#
        + #" "a" : { "dtype" : "F32", "shape" : [ 1 , 2 ], "data_offsets" : [0, 8] } }   "#
      let data: [UInt8] = [0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0, 0x80, 0x3F, 0x40, 0x40]
      let file = try Safetensors.open(folder.write(Self.file(header, data: data)))
      #expect(file.names == ["a", "b"])
      #expect(file.metadata == ["k": "vé😀"])
      #expect(try file.tensor(named: "a").floats() == [1, -2])
      #expect(try file.tensor(named: "b").floats() == [1, 3])
      #expect(try file.tensor(named: "a").shape == [1, 2])
    }

    /// A header whose length isn't a multiple of 8 puts f64 at odd addresses.
    @Test func readsMisalignedData() throws {
      for padding in 0..<8 {
        let header = #"{"x":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}"# + String(repeating: " ", count: padding)
        let data = [1.5, -2.0].flatMap { withUnsafeBytes(of: $0, Array.init) }
        #expect(try Safetensors.open(folder.write(Self.file(header, data: data))).tensor(named: "x").floats() == [1.5, -2])
      }
    }

    @Test func refusesEveryTruncation() throws {
      let path = folder.path("whole.safetensors")
      try Safetensors.write([("x", try Tensor.ones(shape: [3])), ("y", try Tensor.ones(shape: [2], dtype: .bf16))], to: path)
      let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
      for count in bytes.indices { #expect(try code(Array(bytes[..<count])) != nil, "cut to \(count) of \(bytes.count) bytes") }
      #expect(try code(bytes) == nil)
      #expect(try code(bytes + [0]) == .wrongSize)
    }

    @Test(arguments: [
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, UInt64.max, SafetensorsError.Code.badHeader),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 100 << 20 + 1, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 1 << 20, .wrongSize),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 1 << 63, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 5, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 0, .badHeader),
    ]) func refusesHeaderLength(header: String, length: UInt64, expected: SafetensorsError.Code) throws {
      #expect(try code(Self.file(header, data: [UInt8](repeating: 0, count: 8), length: length)) == expected)
    }

    /// Eight bytes of data follow each.
    @Test(arguments: [
      (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}"#, SafetensorsError.Code.badTensor),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, .badTensor),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}"#, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0]}}"#, .badTensor),
      (#"{"x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, .wrongSize),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, .badTensor),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[9223372036854775800,9223372036854775807]}}"#, .badTensor),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,99999999999999999999]}}"#, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#, .badTensor),
      (#"{"x":{"dtype":"F32","shape":[9223372036854775807,2],"data_offsets":[0,8]}}"#, .badTensor),
      (#"{"x":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[02],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"x":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}"#, .badTensor),
      (#"{"x":{"dtype":4,"shape":[2],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"x":{"dtype":"F32","shape":2,"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"x":{"shape":[2],"data_offsets":[0,8]}}"#, .badTensor),
      (#"{"x":{"dtype":"F32","data_offsets":[0,8]}}"#, .badTensor),
      (#"{"x":{"dtype":"F32","shape":[2]}}"#, .badTensor),
      (#"{"x":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}}"#, .badHeader),
      (
        #"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        .badHeader
      ),
      (
        #"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\u0078":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        .badHeader
      ),
      (
        #"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        .badTensor
      ),
      (
        #"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
        .badTensor
      ),
      (
        #"{"x":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"y":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        .badTensor
      ),
      (#"{"__metadata__":{"a":"1","a":"2"},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"__metadata__":{"a":1},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"__metadata__":{},"__metadata__":{},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"#, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[2,],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},}"#, .badHeader),
      (#"{"x:{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"\u12":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, .badHeader),
      (#"{"\q":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, .badHeader),
      ("{\"a\nb\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", .badHeader),
      ("[[[[[[[[", .badHeader),
      ("null", .badHeader),
      ("{}", .wrongSize),
    ]) func refusesHeader(header: String, expected: SafetensorsError.Code) throws {
      #expect(try code(Self.file(header, data: [UInt8](repeating: 0, count: 8))) == expected)
    }

    @Test func refusesInvalidUTF8() throws {
      var bytes = Self.file(#"{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#)
      bytes[10] = 0xFF
      #expect(try code(bytes) == .badHeader)
    }

    /// Any change of one byte is refused or leaves something that can be read in full; it never crashes.
    @Test func survivesDamage() throws {
      let path = folder.path("whole.safetensors")
      try Safetensors.write([("x", try Tensor.ones(shape: [2, 1])), ("y", try Tensor.ones(shape: [3], dtype: .bool))], to: path)
      let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
      var numbers = SeededNumbers(seed: 41)
      for position in bytes.indices {
        for _ in 0..<2 {
          var damaged = bytes
          damaged[position] = UInt8(truncatingIfNeeded: numbers.next())
          guard let file = try? Safetensors.open(folder.write(damaged)) else { continue }
          for name in file.names { _ = try? file.tensor(named: name) }
        }
      }
    }

    @Test func refusesBooleansThatAreNone() throws {
      let header = #"{"x":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}}"#
      let file = try Safetensors.open(folder.write(Self.file(header, data: [1, 2])))
      #expect(throws: SafetensorsError.self) { try file.tensor(named: "x") }
    }

    @Test func refusesWhatIsNoFile() throws {
      func code(_ path: String) -> SafetensorsError.Code? {
        do {
          _ = try Safetensors.open(path)
          return nil
        } catch { return error.code }
      }
      #expect(code(folder.path("absent")) == .cannotRead)
      #expect(code(folder.url.path) == .cannotRead)
      #expect(code("/dev/null") == .cannotRead)
      #expect(try code(folder.write([])) == .wrongSize)
      let file = try Safetensors.open(folder.write(Self.file("{}")))
      #expect(throws: SafetensorsError.self) { try file.tensor(named: "x") }
    }

    @Test func aFailedWriteLeavesTheOldFile() throws {
      let path = folder.path("a.safetensors")
      let x = try Tensor.ones(shape: [1])
      try Safetensors.write([("x", x)], to: path)
      let before = try Data(contentsOf: URL(fileURLWithPath: path))
      #expect(throws: SafetensorsError.self) { try Safetensors.write([("x", x), ("x", x)], to: path) }
      #expect(throws: SafetensorsError.self) { try Safetensors.write([("__metadata__", x)], to: path) }
      #expect(throws: SafetensorsError.self) { try Safetensors.write([("x", x)], to: folder.path("no/such/folder")) }
      #expect(throws: SafetensorsError.self) { try Safetensors.write([("x", x)], to: folder.url.path) }
      #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["a.safetensors"])
    }

    @Test func leaksNothing() async {
      await #expect(processExitsWith: .success) {
        let folder = try Folder()
        let path = folder.path("a.safetensors")
        try Safetensors.write([("x", try Tensor.ones(shape: [4])), ("y", try Tensor.ones(shape: [2]))], to: path)
        for _ in 0..<5 {
          let file = try Safetensors.open(path)
          _ = try file.tensor(named: "x")
          #expect(throws: SafetensorsError.self) { try file.tensor(named: "z") }
        }
        #expect(Torch.liveHandles == 0)
      }
    }
  }
}
