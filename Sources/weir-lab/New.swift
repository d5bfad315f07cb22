import ArgumentParser
import Cascade
import Training

struct New: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Begin a pipeline for your own images.",
    discussion: """
      Writes PIPELINE/cascade.json: the networks, schedules and samplers of another pipeline, and the names of DATA's sub-folders as labels. Edit it at \
      will before you train; weights begin with the training.
      """)

  @Argument(help: ArgumentHelp("The new pipeline's folder.", valueName: "pipeline"))
  var pipeline: String

  @Option(help: "The training images: DATA/<class>/*.png.")
  var data: String

  @Option(help: ArgumentHelp("The pipeline whose networks it gets.", valueName: "folder"))
  var like = "ops/pipelines/avatars"

  func run() throws {
    let folder = try DataFolder(root: data, labels: DataFolder.classes(in: data))
    let manifest = try NewPipeline.write(to: pipeline, like: like, labels: folder.labels)
    print("\(pipeline): \(folder.items.count) images of \(folder.labels.joined(separator: ", ")). To train it:")
    for stage in manifest.stages {
      print("  weir-lab train --pipeline \(pipeline) --stage \(stage.name) --data \(data) --max-minutes 60 --decay --export")
    }
    if let note = folder.leftOutNote { print(note) }
  }
}
