import CSHA256
import CSodium

/// SHA-256 (FIPS 180-4) over bytes that arrive in pieces.
package struct SHA256Hasher {
  private var state = crypto_hash_sha256_state()

  package init() {
    crypto_hash_sha256_init(&state)
  }

  package mutating func update(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress else { return }
    crypto_hash_sha256_update(&state, base.assumingMemoryBound(to: UInt8.self), UInt64(bytes.count))
  }

  package mutating func update(_ bytes: some Sequence<UInt8>) {
    let done: Void? = bytes.withContiguousStorageIfAvailable { update(UnsafeRawBufferPointer($0)) }
    if done == nil {
      Array(bytes).withUnsafeBytes { update($0) }
    }
  }

  /// The digest, 32 bytes.
  package consuming func finalize() -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: 32) { buffer, count in
      // The buffer has room for 32 bytes, so its base address exists.
      crypto_hash_sha256_final(&state, buffer.baseAddress!)
      count = 32
    }
  }
}

/// Whether the processor does it by itself, several times faster than any program.
private let processorHasSHA256 = CSHA256_is_available() != 0

/// SHA-256 of some bytes: 32 bytes.
package func sha256(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
  guard processorHasSHA256 else {
    var hasher = SHA256Hasher()
    hasher.update(bytes)
    return hasher.finalize()
  }
  return [UInt8](unsafeUninitializedCapacity: 32) { buffer, count in
    CSHA256_digest(bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count, buffer.baseAddress)
    count = 32
  }
}

/// SHA-256 of some bytes: 32 bytes.
package func sha256(_ bytes: some Sequence<UInt8>) -> [UInt8] {
  bytes.withContiguousStorageIfAvailable { sha256(UnsafeRawBufferPointer($0)) } ?? Array(bytes).withUnsafeBytes { sha256($0) }
}
