import Digests
import Foundation
import Images
import Wire

/// Where a command writes images. A file appears whole or not at all.
struct ImageFolder: Sendable {
  let path: String

  static let sheetName = "contact-sheet.png"

  /// Makes the folder, so that a wrong path is found out before there is work in it.
  init(_ path: String) throws(UsageError) {
    self.path = path
    do {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
      throw UsageError("--out: cannot make the folder '\(path)': \(error.localizedDescription)")
    }
    guard FileManager.default.isWritableFile(atPath: path) else { throw UsageError("--out: cannot write into '\(path)': no permission") }
  }

  /// The pixels of a fetched image.
  static func decode(_ image: FinishedImage) throws -> RGBImage {
    let tensor = image.tensor
    guard tensor.dtype == .f32, tensor.shape.count == 3, tensor.shape[0] == 3, tensor.shape[1] > 0, tensor.shape[2] > 0 else {
      throw Failure("sample \(image.sample) of job \(image.job) is no image: \(tensor.dtype) of shape \(tensor.shape)")
    }
    return RGBImage(chw: tensor.floats(), width: Int(tensor.shape[2]), height: Int(tensor.shape[1]))
  }

  /// Writes `JOB-INDEX.png`, or `JOB-INDEX-STAGE.png` of a stage that is not the last. Nothing in the file tells the job: the same sample is the same file, whoever made it.
  ///
  /// - Parameters:
  ///   - status: of the job, with labels and options.
  ///   - stage: empty: the image is finished.
  /// - Returns: The file's path.
  func save(_ pixels: RGBImage, _ image: FinishedImage, of status: JobStatus, stage: String) throws -> String {
    let stages = status.options.map { options in
      StageText(
        stage: options.stage, sampler: options.sampler ?? "", steps: Int(options.steps ?? 0), eta: options.eta ?? 0,
        aug: Int(options.aug ?? 0), guidance: options.guidance ?? 1)
    }
    let text = imageMetadata(
      label: status.labelName(image.label) ?? String(image.label), seed: image.seed, pipeline: status.pipeline, digest: hex(status.digest),
      stages: stages, truncated: status.truncated, numerics: image.numerics)
    return try write(try pixels.png(text: text), "\(image.job)-\(image.sample)\(stage.isEmpty ? "" : "-\(fileName(stage))").png")
  }

  /// A stage's name comes from a worker, and may not lead out of the folder.
  private func fileName(_ stage: String) -> String {
    String(stage.map { $0.isLetter || $0.isNumber || $0 == "_" ? $0 : "_" })
  }

  func saveContactSheet(_ images: [RGBImage], columns: Int) throws -> String {
    try write(try RGBImage.grid(images, columns: columns).png(), Self.sheetName)
  }

  private func write(_ bytes: [UInt8], _ name: String) throws -> String {
    let file = path.hasSuffix("/") ? path + name : "\(path)/\(name)"
    do {
      try Data(bytes).write(to: URL(fileURLWithPath: file), options: .atomic)
    } catch {
      throw Failure("cannot write '\(file)': \(error.localizedDescription)")
    }
    return file
  }
}
