import ArgumentParser
import Programs
import Tensors

/// Training, reference sampling and measurement: everything that needs neither broker nor network.
@main
struct WeirLab: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weir-lab",
    abstract: "Train, sample and measure cascades on this machine alone.",
    subcommands: [
      New.self, Train.self, Sample.self, Forward.self, Bench.self, Import.self, Features.self, Metrics.self, Eval.self, Sweep.self,
      Redraw.self,
    ])

  static func main() async {
    Torch.keepFreedMemory()
    await Program.run(Self.self)
  }
}
