import ArgumentParser
import Foundation
import ZeroMQ

struct Keygen: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Makes a key: for a broker, a client or a worker.",
    discussion: """
      Writes NAME.key_secret, which stays on the machine that uses it and which only you can read, and NAME.key, which may be shown to \
      anyone. Files that are there are left as they are. Prints the public key and the two paths, a line each.

      A broker is given its own --key-file and, with --allow, the list of the public keys that may enter. A client or worker is given its own \
      --key-file, and the broker's public key as --broker-key.
      """)

  @Argument(help: "What the files are named, such as broker, alice or gpu-1.")
  var name: String

  @Option(help: ArgumentHelp("Where to; made if it isn't there.", valueName: "folder"))
  var out = "."

  func validate() throws {
    guard !name.isEmpty, !name.hasPrefix("."), !name.contains("/") else {
      throw ValidationError("'\(name)' cannot name files; write a word like alice, and the folder with --out.")
    }
  }

  func run() throws {
    do {
      try FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: true)
      let pair = try CurveKeyPair.generate()
      let paths = try CurveCertificate.write(pair, to: "\(out)/\(name)")
      Output.line("public key: \(pair.publicKey)")
      Output.line("to show:    \(paths.publicPath)")
      Output.line("to keep:    \(paths.secretPath)")
    } catch let error as CurveCertificate.Failure {
      throw Failure(error.description)
    } catch let error as ZeroMQError {
      throw Failure(error.description)
    } catch {
      throw Failure("the folder \(out) cannot be made: \(error.localizedDescription)")
    }
  }
}
