import ArgumentParser
import Evaluation
import Images
import Training

/// The real images, in the stage's size.
struct RealImages {
  let features: FeatureSet
  private let folder: ImageFolder
  private let ofLabel: [[ImageFolder.Item]]

  init(_ folder: ImageFolder, side: Int, net: EfficientNetLite) throws {
    self.folder = folder
    ofLabel = folder.classes.indices.map { label in folder.items.filter { $0.label == label } }
    features = try net.features(of: folder.items) { RGBImage(chw: try Self.planes(folder, $0, side), width: side, height: side) }
  }

  /// The image of the `number`-th sample, whose label is `label`, in [-1, 1].
  func planes(_ number: Int, _ label: Int, side: Int) throws -> [Float] {
    let items = ofLabel[label]
    return try Self.planes(folder, items[number / ofLabel.count % items.count], side)
  }

  private static func planes(_ folder: ImageFolder, _ item: ImageFolder.Item, _ side: Int) throws -> [Float] {
    guard let planes = Resampling.area(try folder.image(item), side: side) else {
      throw ValidationError("\(item.path): smaller than \(side)x\(side)")
    }
    return planes.map { $0 / 127.5 - 1 }
  }
}
