/// When a task may join those that are being computed.
package enum Batching: String, Sendable, Hashable, CaseIterable {
  /// Before any step, as soon as a slot is free.
  case step
  /// Only when every task of the batch before has ended: what servers without step-level batching do, to be compared with.
  case request
}
