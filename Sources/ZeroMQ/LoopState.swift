import CLinuxShims
import CZeroMQ

/// What a `SocketLoop` keeps for its own thread.
final class LoopState {
  private struct Watch {
    let socket: Socket
    let onReadable: () -> Void
    var onWritable: (() -> Void)?
  }

  var timers = TimerQueue()
  var turnEndHandlers: [() -> Void] = []
  private var watches: [ObjectIdentifier: Watch] = [:]
  /// In the order of `items`, which begins with the wake-up descriptor.
  private var polled: [ObjectIdentifier] = []
  private var items: [zmq_pollitem_t] = []
  private var itemsAreCurrent = false

  func add(_ socket: Socket, onReadable: @escaping () -> Void) {
    watches[ObjectIdentifier(socket)] = Watch(socket: socket, onReadable: onReadable)
    itemsAreCurrent = false
  }

  func remove(_ socket: Socket) {
    watches[ObjectIdentifier(socket)] = nil
    itemsAreCurrent = false
  }

  func onceWritable(_ socket: Socket, _ body: @escaping () -> Void) {
    precondition(watches[ObjectIdentifier(socket)] != nil, "the socket was not added to the loop")
    watches[ObjectIdentifier(socket)]?.onWritable = body
    itemsAreCurrent = false
  }

  /// Waits for a socket, the wake-up descriptor or the next timer; not at all unless it `mayBlock`.
  func wait(wakeUp: Int32, mayBlock: Bool) {
    if !itemsAreCurrent || watches.values.contains(where: { $0.socket.handle == nil }) { rebuildItems(wakeUp: wakeUp) }
    var timeout = mayBlock ? -1 : 0
    if mayBlock, let deadline = timers.next {
      timeout = Int(milliseconds(deadline - .now))
    }
    guard zmq_poll(&items, Int32(items.count), timeout) >= 0 else {
      let errno = zmq_errno()
      for index in items.indices { items[index].revents = 0 }
      // Closing the sockets lets the termination of their context, which somebody waits for, go on.
      if errno == ETERM || errno == ENOTSOCK { closeSockets() }
      return
    }
    if items[0].revents != 0 { CLinuxShims_eventfd_clear(wakeUp) }
  }

  /// Calls the handlers of the sockets that `wait` found ready, then the timers that are due.
  func dispatch() {
    for index in items.indices.dropFirst() where items[index].revents != 0 {
      let id = polled[index - 1]
      if items[index].revents & Int16(ZMQ_POLLOUT) != 0, let body = watches[id]?.onWritable {
        watches[id]?.onWritable = nil
        itemsAreCurrent = false
        body()
      }
      // A handler before this one may have removed the socket.
      if items[index].revents & Int16(ZMQ_POLLIN) != 0, let watch = watches[id], watch.socket.handle != nil { watch.onReadable() }
    }
    let now = ContinuousClock.now
    // Those set by these very timers wait for the next turn, so that a timer of no delay cannot keep the loop from its sockets.
    let newest = timers.lastID
    while let body = timers.popDue(now, upTo: newest) { body() }
  }

  func endTurn() {
    for body in turnEndHandlers { body() }
  }

  func close() {
    closeSockets()
    timers = TimerQueue()
    turnEndHandlers = []
  }

  private func closeSockets() {
    let sockets = watches.values.map(\.socket)
    watches = [:]
    itemsAreCurrent = false
    for socket in sockets { socket.close() }
  }

  private func rebuildItems(wakeUp: Int32) {
    items = [zmq_pollitem_t(socket: nil, fd: wakeUp, events: Int16(ZMQ_POLLIN), revents: 0)]
    polled = []
    watches = watches.filter { $0.value.socket.handle != nil }
    for (id, watch) in watches {
      let events = watch.onWritable == nil ? ZMQ_POLLIN : ZMQ_POLLIN | ZMQ_POLLOUT
      items.append(zmq_pollitem_t(socket: watch.socket.handle, fd: 0, events: Int16(events), revents: 0))
      polled.append(id)
    }
    itemsAreCurrent = true
  }
}
