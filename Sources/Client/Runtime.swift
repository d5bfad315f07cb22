import ZeroMQ

/// The ZeroMQ context and the thread that all clients of a process share. They live as long as the process.
struct Runtime {
  let context: Context
  let loop: SocketLoop

  private static let instance = Result { () throws(ZeroMQError) -> Runtime in
    Runtime(context: try Context(), loop: try SocketLoop(name: "weir-client"))
  }

  static func shared() throws(ClientError) -> Runtime {
    do throws(ZeroMQError) {
      return try instance.get()
    } catch {
      throw ClientError(.unreachable, "this process cannot use ZeroMQ: \(error)")
    }
  }
}
