/// Which examples make a step: `accumulate` batches, one after the other.
///
/// Their gradients are added up before the optimiser steps, each weighted by 1/accumulate: the gradient of one batch of all of them, but for the
/// order in which its terms are summed and rounded.
package struct StepShare: Hashable, Sendable {
  /// Examples that go through the network together.
  package var batch: Int
  package var accumulate: Int

  /// Examples a step.
  package var examples: Int { batch * accumulate }

  /// The first example of each batch, of a step that begins with example `first`.
  package func firsts(from first: UInt64) -> [UInt64] {
    (0..<accumulate).map { first + UInt64($0 * batch) }
  }
}
