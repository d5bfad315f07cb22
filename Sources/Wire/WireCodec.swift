import CProtobufC
import CWeirProto
public import ZeroMQ

/// Messages to frames and back. The frames have no routing id.
///
/// Encoding throws what a peer would refuse: names, tensors or an envelope that are too large. Lists in a reply are cut to what fits.
/// Decoding checks everything it reads before it takes memory for it and ignores fields that it doesn't know.
public enum WireCodec {
  /// This program's minor version of the protocol.
  public static let version: UInt32 = 1
  /// The minor versions it understands: its own, the one before and the one after.
  public static let supportedVersions: ClosedRange<UInt32> = 1...2

  // MARK: Encoding

  public static func encode(_ request: ClientRequest, request number: UInt64) throws(WireError) -> [Frame] {
    try encode(request: number) { (arena, envelope) throws(WireError) in try arena.pack(request, in: &envelope) }
  }

  /// A list that makes the reply too long is cut at its end: first the jobs' `details`, then the list itself.
  public static func encode(_ reply: ClientReply, request number: UInt64) throws(WireError) -> [Frame] {
    let (items, details) = reply.listLengths
    func encode(items: Int, details: Int) throws(WireError) -> [Frame] {
      let tensors: [WireTensor] = if case .image(let image) = reply { [image.tensor] } else { [] }
      return try Self.encode(request: number, tensors: tensors) { (arena, envelope) throws(WireError) in
        try arena.pack(reply.cut(items: items, details: details), in: &envelope)
      }
    }
    do throws(WireError) {
      return try encode(items: items, details: details)
    } catch  where error.code == .tooLarge && (items > 0 || details > 0) {
      if let frames = try longest(details, { (count) throws(WireError) in try encode(items: items, details: count) }) { return frames }
      if let frames = try longest(items, { (count) throws(WireError) in try encode(items: count, details: 0) }) { return frames }
      throw error
    }
  }

  public static func encode(_ message: WorkerMessage) throws(WireError) -> [Frame] {
    let tensors: [WireTensor] =
      switch message {
      case .checkpoint(_, let checkpoint): checkpoint.tensors
      case .result(let result): [result.tensor]
      default: []
      }
    if case .checkpoint = message { try checkCheckpointNames(tensors) }
    return try encode(request: 0, tensors: tensors) { (arena, envelope) throws(WireError) in try arena.pack(message, in: &envelope) }
  }

  /// A checkpoint at step 0 is left out, for there is nothing in it yet.
  public static func encode(_ command: WorkerCommand) throws(WireError) -> [Frame] {
    var tensors: [WireTensor] = []
    if case .assign(let assignment) = command {
      if let lowRes = assignment.lowRes { tensors.append(try lowRes.named(lowResName)) }
      if let checkpoint = assignment.checkpoint, checkpoint.step > 0 {
        try checkCheckpointNames(checkpoint.tensors)
        tensors += checkpoint.tensors
      }
    }
    return try encode(request: 0, tensors: tensors) { (arena, envelope) throws(WireError) in try arena.pack(command, in: &envelope) }
  }

  // MARK: Decoding

  /// - Throws: an error that has the request's number if it could be read, so that the request can be refused.
  public static func decodeClientRequest(_ frames: [Frame]) throws(WireError) -> (request: UInt64, ClientRequest) {
    try decode(frames) { (envelope, tensors) throws(WireError) in
      (envelope.request, try ClientRequest(envelope, tensors))
    }
  }

  public static func decodeClientReply(_ frames: [Frame]) throws(WireError) -> (request: UInt64, ClientReply) {
    try decode(frames) { (envelope, tensors) throws(WireError) in
      (envelope.request, try ClientReply(envelope, tensors))
    }
  }

  public static func decodeWorkerMessage(_ frames: [Frame]) throws(WireError) -> WorkerMessage {
    try decode(frames) { (envelope, tensors) throws(WireError) in try WorkerMessage(envelope, tensors) }
  }

  public static func decodeWorkerCommand(_ frames: [Frame]) throws(WireError) -> WorkerCommand {
    try decode(frames) { (envelope, tensors) throws(WireError) in try WorkerCommand(envelope, tensors) }
  }

  // MARK: Envelopes

  static let lowResName = "low_res"
  static let checkpointPrefix = "checkpoint."

  static func checkCheckpointNames(_ tensors: [WireTensor]) throws(WireError) {
    for tensor in tensors where !tensor.name.hasPrefix(checkpointPrefix) {
      throw WireError(.invalidTensor, "tensor \(tensor.name) of a checkpoint should have a name that begins with \(checkpointPrefix)")
    }
  }

  private static func encode(
    request: UInt64, tensors: [WireTensor] = [],
    _ body: (PackArena, inout Weir__V1__Envelope) throws(WireError) -> Void
  ) throws(WireError) -> [Frame] {
    guard tensors.count <= WireLimits.tensors else {
      throw WireError(.tooLarge, "a message has \(tensors.count) tensors; at most \(WireLimits.tensors) are allowed")
    }
    let first = try PackArena.with { (arena) throws(WireError) in
      let envelope = try arena.make(weir__v1__envelope__init) { (envelope: inout Weir__V1__Envelope) throws(WireError) in
        envelope.version = version
        envelope.request = request
        envelope.tensors = UInt32(tensors.count)
        try body(arena, &envelope)
      }
      let size = weir__v1__envelope__get_packed_size(envelope)
      guard size <= WireLimits.envelopeBytes else {
        throw WireError(.tooLarge, "a message has \(size) bytes; at most \(WireLimits.envelopeBytes) are allowed: send less at a time")
      }
      return Frame(count: size) { weir__v1__envelope__pack(envelope, $0.baseAddress?.assumingMemoryBound(to: UInt8.self)) }
    }
    var frames = [first]
    for tensor in tensors { frames += try TensorFraming.encode(tensor) }
    return frames
  }

  /// The longest list up to `count` entries that can be encoded; `nil` if not even the empty one can.
  private static func longest(_ count: Int, _ encode: (Int) throws(WireError) -> [Frame]) throws(WireError) -> [Frame]? {
    var best: [Frame]?
    var low = 0
    var high = count
    while low <= high {
      let middle = (low + high) / 2
      do throws(WireError) {
        best = try encode(middle)
        low = middle + 1
      } catch {
        guard error.code == .tooLarge else { throw error }
        high = middle - 1
      }
    }
    return best
  }

  private static func decode<Message>(
    _ frames: [Frame], _ body: (Weir__V1__Envelope, [WireTensor]) throws(WireError) -> Message
  ) throws(WireError) -> Message {
    guard let first = frames.first else { throw WireError(.malformed, "a message has no frames; an envelope is the first") }
    guard first.count <= WireLimits.envelopeBytes else {
      throw WireError(.tooLarge, "an envelope has \(first.count) bytes; at most \(WireLimits.envelopeBytes) are allowed")
    }
    return try first.withUnsafeBytes { (bytes) throws(WireError) -> Message in
      try withUnpacked(bytes, "envelope", unpack: weir__v1__envelope__unpack, free: weir__v1__envelope__free_unpacked) {
        (envelope) throws(WireError) -> Message in
        do throws(WireError) {
          guard supportedVersions.contains(envelope.version) else {
            throw WireError(
              .unsupportedVersion,
              "the peer speaks protocol version \(envelope.version) and this program \(supportedVersions); use the same release of both")
          }
          return try body(envelope, try tensors(after: envelope, in: frames))
        } catch {
          throw WireError(error.code, error.reason, request: envelope.request)
        }
      }
    }
  }

  private static func tensors(after envelope: Weir__V1__Envelope, in frames: [Frame]) throws(WireError) -> [WireTensor] {
    guard envelope.tensors <= WireLimits.tensors else {
      throw WireError(.tooLarge, "a message has \(envelope.tensors) tensors; at most \(WireLimits.tensors) are allowed")
    }
    let count = Int(envelope.tensors)
    guard frames.count == 1 + 2 * count else {
      throw WireError(.malformed, "an envelope that announces \(count) tensors is followed by \(frames.count - 1) frames, not \(2 * count)")
    }
    var tensors: [WireTensor] = []
    for index in 0..<count {
      tensors.append(try TensorFraming.decode(header: frames[1 + 2 * index], data: frames[2 + 2 * index]))
    }
    return tensors
  }
}

extension ClientReply {
  /// How many entries its list has, and the longest of its jobs' `details`.
  fileprivate var listLengths: (items: Int, details: Int) {
    switch self {
    case .jobs(let jobs): (jobs.count, jobs.map(\.details.count).max() ?? 0)
    case .event(let job): (0, job.details.count)
    case .workers(let workers): (workers.count, 0)
    case .history(let attempts): (attempts.count, 0)
    default: (0, 0)
    }
  }

  fileprivate func cut(items: Int, details: Int) -> ClientReply {
    func cut(_ job: JobStatus) -> JobStatus {
      var job = job
      job.details = Array(job.details.prefix(details))
      return job
    }
    switch self {
    case .jobs(let jobs): return .jobs(jobs.prefix(items).map(cut))
    case .event(let job): return .event(cut(job))
    case .workers(let workers): return .workers(Array(workers.prefix(items)))
    case .history(let attempts): return .history(Array(attempts.prefix(items)))
    default: return self
    }
  }
}
