import ArgumentParser
import Foundation
import Tensors
import UNet

struct Forward: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run a network once, files in and out.",
    discussion: """
      MODEL is a JSON object of guided-diffusion's flags. IN holds x (N,C,H,W) and t (N), and where the network takes them y (N, i64), \
      low_res (N,C,h,w) and s (N). OUT gets one tensor, out.
      """)

  @Option(help: "The network's flags, a .json file.")
  var model: String

  @Option(help: "Its weights, a .safetensors file with guided-diffusion's tensor names.")
  var weights: String

  @Option(name: .customLong("in"), help: "Its inputs, a .safetensors file.")
  var input: String

  @Option(name: .customLong("out"), help: "Where to write its output, a .safetensors file.")
  var output: String

  @Option(help: "What it computes in: f32 or bf16.")
  var dtype = "f32"

  private static let inputs = ["x", "t", "y", "low_res", "s"]

  func validate() throws {
    guard type != nil else { throw ValidationError("--dtype \(dtype): give f32 or bf16") }
  }

  private var type: DType? { [DType.f32, .bf16].first { $0.rawValue == dtype } }

  func run() throws {
    let flags: Data
    do {
      flags = try Data(contentsOf: URL(fileURLWithPath: model))
    } catch {
      throw UNetError(.configuration, "can't read --model \(model): \(error.localizedDescription)")
    }
    let configuration = try UNetConfiguration(json: flags)
    let net = try ServedUNet(configuration, weights: .open(weights), dtype: type ?? .f32)
    let file = try Safetensors.open(input)
    let strangers = file.names.filter { !Self.inputs.contains($0) }
    guard strangers.isEmpty else {
      throw UNetError(.input, "--in \(input) holds \(strangers.joined(separator: ", ")): give only \(Self.inputs.joined(separator: ", "))")
    }
    func tensor(_ name: String) throws -> Tensor? { file.contains(name) ? try file.tensor(named: name) : nil }
    let result = try net(
      x: file.tensor(named: "x"), timesteps: file.tensor(named: "t"), labels: tensor("y"), lowRes: tensor("low_res"),
      augLevels: tensor("s"))
    try Safetensors.write([("out", result)], to: output)
  }
}
