/// Low-resolution inputs as the stages below draw them, of some of the training images: PNG files under the same classes and names.
///
/// A stage trained on averaged images alone has never seen the flaws of those that it is shown in a cascade. Conditioning augmentation hides them in noise
/// or blur (Ho et al. 2022, section 4); an image that the stages below have drawn anew has the flaws themselves, and the original to train towards.
package struct RedrawnInputs: Sendable {
  private let source: CachedSource
  private let places: [String: Int]

  /// - Parameters:
  ///   - side: of the inputs; files of other sizes are brought to it.
  ///   - path: of the cache, as in `CachedSource`.
  package init(root: String, labels: [String], side: Int, path: String, report: (String) -> Void) throws(TrainingError) {
    let source = try CachedSource(folder: DataFolder(root: root, labels: labels), side: side, path: path, report: report)
    self.source = source
    places = Dictionary(uniqueKeysWithValues: (0..<source.count).map { (source.path($0), $0) })
  }

  package var count: Int { source.count }

  package func has(_ path: String) -> Bool { places[path] != nil }

  /// (3, side, side) in [-1, 1]; `nil`: that image has none.
  package func input(of path: String) throws(TrainingError) -> [Float]? {
    guard let place = places[path] else { return nil }
    return try source.image(place).planes
  }
}
