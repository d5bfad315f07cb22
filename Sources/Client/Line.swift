import ZeroMQ

/// A client's socket and timer. Touched only on the clients' loop, also when the client itself ends elsewhere.
final class Line: @unchecked Sendable {
  var socket: Socket?
  var timer: SocketLoop.TimerID?

  func hangUp(on loop: SocketLoop) {
    guard let socket else { return }
    loop.remove(socket)
    socket.close()
    self.socket = nil
  }

  func disarm(on loop: SocketLoop) {
    if let timer { loop.cancel(timer) }
    timer = nil
  }

  func end(on loop: SocketLoop) {
    hangUp(on: loop)
    disarm(on: loop)
  }
}
