import Glibc
import Tensors

/// The files of a run's folder: each is either the old or the new one, whenever the power goes.
package enum RunFile {
  package static func write(_ bytes: [UInt8], to path: String) throws(TrainingError) {
    do throws(FileFailure) {
      var file = try AtomicFile(replacing: path)
      try file.write(bytes)
      try file.commit()
    } catch {
      throw failure(error, path)
    }
  }

  /// Puts a complete file in the place of another.
  package static func move(_ source: String, to path: String) throws(TrainingError) {
    do throws(FileFailure) { try AtomicFile.move(source, to: path) } catch { throw failure(error, path) }
  }

  /// Makes `copy` another name of `path`'s present bytes, replacing what `copy` was.
  package static func keep(_ path: String, as copy: String) throws(TrainingError) {
    let temporary = "\(copy).tmp"
    unlink(temporary)
    guard link(path, temporary) == 0 else { throw failure(FileFailure("link"), path) }
    try move(temporary, to: copy)
  }

  private static func failure(_ error: FileFailure, _ path: String) -> TrainingError {
    TrainingError(.file, "\(path): cannot \(error.operation): \(error.reason)")
  }
}
