import Foundation

/// Where Weir keeps what it can compute again.
package enum CacheFolder {
  /// `weir` in the user's folder for caches.
  package static func path(environment: [String: String] = ProcessInfo.processInfo.environment) -> String {
    let caches = environment["XDG_CACHE_HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? "\(environment["HOME"] ?? "")/.cache"
    return "\(caches)/weir"
  }
}
