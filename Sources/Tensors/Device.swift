/// Where a tensor lives: `cpu`, `cuda` or `cuda:N`. A device that isn't there is refused when it is first used.
package struct Device: Hashable, Sendable, CustomStringConvertible {
  package let name: String

  package init(_ name: String) {
    self.name = name
  }

  package static let cpu = Device("cpu")

  package var isCPU: Bool { name == "cpu" }
  package var description: String { name }
}
