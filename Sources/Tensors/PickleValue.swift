/// What a pickle says, with nothing in it run: a call stays a call.
enum PickleValue {
  case none
  case bool(Bool)
  case int(Int64)
  case double(Double)
  case string(String)
  case bytes([UInt8])
  case tuple(PickleTuple)
  case list(PickleList)
  case dictionary(PickleDictionary)
  /// A function or class by its name, such as `torch._utils` `_rebuild_tensor_v2`.
  case global(module: String, name: String)
  /// A function and what it would be called with.
  case call(PickleTuple)
  /// What lies outside of the pickle, by its id.
  case persistent(PickleTuple)

  var string: String? { if case .string(let text) = self { text } else { nil } }
  var int: Int? { if case .int(let number) = self { Int(exactly: number) } else { nil } }

  var tuple: [PickleValue]? { if case .tuple(let tuple) = self { tuple.items } else { nil } }

  func isGlobal(_ module: String, _ name: String) -> Bool {
    if case .global(module, name) = self { true } else { false }
  }
}

/// Cannot be changed, so its depth is known.
final class PickleTuple {
  let items: [PickleValue]
  /// Tuples and calls within each other.
  let depth: Int

  init(_ items: [PickleValue]) {
    self.items = items
    depth = 1 + (items.map(\.depth).max() ?? 0)
  }
}

final class PickleList {
  var items: [PickleValue] = []
}

final class PickleDictionary {
  var items: [(key: PickleValue, value: PickleValue)] = []

  subscript(key: String) -> PickleValue? { items.last { $0.key.string == key }?.value }
}

extension PickleValue {
  fileprivate var depth: Int {
    switch self {
    case .tuple(let tuple), .call(let tuple), .persistent(let tuple): tuple.depth
    default: 0
    }
  }
}
