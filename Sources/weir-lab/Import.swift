import ArgumentParser
import Cascade
import Foundation
import Tensors

struct Import: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Take weights that another program trained into a pipeline.", subcommands: [GuidedDiffusion.self])

  struct GuidedDiffusion: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "A model or an upsampler of OpenAI's guided-diffusion, a .pt file.",
      discussion: """
        Writes DIR/STAGE.safetensors and puts the stage into DIR/cascade.json: first the model, then its upsamplers, each by a call of its own. Nothing \
        in FILE is run. The public models' flags are in guided-diffusion's README; for the 64×64 model:

          weir-lab import guided-diffusion 64x64_diffusion.pt --pipeline DIR --stage base64 --flags "--attention_resolutions 32,16,8 \
        --class_cond True --diffusion_steps 1000 --dropout 0.1 --image_size 64 --learn_sigma True --noise_schedule cosine --num_channels 192 \
        --num_head_channels 64 --num_res_blocks 3 --resblock_updown True --use_new_attention_order True --use_fp16 True --use_scale_shift_norm \
        True --timestep_respacing 250"
        """)

    @Argument(help: ArgumentHelp("What torch.save wrote: a state dict.", valueName: "file"))
    var file: String

    @Option(help: ArgumentHelp("The pipeline's folder; it is made if it is not there.", valueName: "folder"))
    var pipeline: String

    @Option(help: ArgumentHelp("What to call the stage.", valueName: "name"))
    var stage: String

    @Option(help: ArgumentHelp("The flags it was trained and is sampled with, as that program takes them.", valueName: "flags"))
    var flags: String

    @Option(help: ArgumentHelp("The labels' names, one a line (default: class-0, class-1, …).", valueName: "file"))
    var labels: String?

    func run() throws {
      let names = try labels.map { path in
        try String(contentsOfFile: path, encoding: .utf8).split(whereSeparator: \.isNewline).map(String.init)
      }
      let stage = try StageImport(name: stage, guidedDiffusion: flags, checkpoint: .open(file))
      try stage.write(to: pipeline, labels: names)
    }
  }
}
