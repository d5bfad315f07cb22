import Foundation
import Glibc

/// The wall clock of a fleet's processes, which jumps at will. This machine's own is left alone.
struct WallClock: Sendable {
  private let file: String
  /// What the processes are to be started with.
  let environment: [String: String]

  /// - Parameters:
  ///   - folder: for a file of its own.
  ///   - executables: where `libweir-clock.so` lies.
  init(in folder: String, executables: String) throws {
    let library = "\(executables)/libweir-clock.so"
    guard FileManager.default.fileExists(atPath: library) else {
      throw Broken("\(library) is missing, which moves the clock of a program: 'swift build' makes it")
    }
    file = "\(folder)/clock"
    environment = ["LD_PRELOAD": library, "WEIR_CLOCK_FILE": file]
    try jump(to: 0)
  }

  /// - Parameter seconds: how far it is ahead of this machine's.
  func jump(to seconds: Int64) throws {
    let descriptor = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw Broken("\(file) cannot be written: \(String(cString: strerror(errno)))") }
    defer { close(descriptor) }
    // In place, for the processes have it in their memory.
    withUnsafeBytes(of: seconds) { _ = pwrite(descriptor, $0.baseAddress, $0.count, 0) }
  }
}
