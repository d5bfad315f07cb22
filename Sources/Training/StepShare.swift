/// Which examples of a step a process takes: its own `accumulate` batches, one after the other. Those of all processes are the step's, in their order.
///
/// The gradients of its batches are added up, each weighted by 1/accumulate, and averaged over the processes: the gradient of one batch of all
/// examples, but for the order in which its terms are summed and rounded.
package struct StepShare: Hashable, Sendable {
  /// Examples that go through the network together.
  package var batch: Int
  package var accumulate: Int
  /// The process's number, from 0, and that of processes.
  package var rank = 0
  package var world = 1

  package init(batch: Int, accumulate: Int, rank: Int = 0, world: Int = 1) {
    self.batch = batch
    self.accumulate = accumulate
    self.rank = rank
    self.world = world
  }

  /// Examples a step, of all processes.
  package var examples: Int { batch * accumulate * world }

  /// The first example of each batch of this process, of a step that begins with example `first`.
  package func firsts(from first: UInt64) -> [UInt64] {
    (0..<accumulate).map { first + UInt64((rank * accumulate + $0) * batch) }
  }

  /// A number for each batch of a run, in whichever process it is computed.
  package func number(ofBatch index: Int, step: Int) -> UInt64 {
    UInt64((step * world + rank) * accumulate + index)
  }
}
