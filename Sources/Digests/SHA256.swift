import COpenSSL

/// SHA-256 (FIPS 180-4) over bytes that arrive in pieces. OpenSSL uses the processor's instructions for it where there are any.
package struct SHA256Hasher: ~Copyable {
  private let context: OpaquePointer

  package init() {
    guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex2(context, algorithm.pointer, nil) == 1 else {
      fatalError("OpenSSL cannot begin a SHA-256: no memory is left")
    }
    self.context = context
  }

  deinit { EVP_MD_CTX_free(context) }

  package func update(_ bytes: UnsafeRawBufferPointer) {
    EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
  }

  package func update(_ bytes: some Sequence<UInt8>) {
    let done: Void? = bytes.withContiguousStorageIfAvailable { update(UnsafeRawBufferPointer($0)) }
    if done == nil {
      Array(bytes).withUnsafeBytes { update($0) }
    }
  }

  /// The digest, 32 bytes.
  package consuming func finalize() -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: 32) { buffer, count in
      EVP_DigestFinal_ex(context, buffer.baseAddress, nil)
      count = 32
    }
  }
}

/// Fetched once: looking an algorithm up costs as much as digesting a kilobyte.
private struct Algorithm: @unchecked Sendable {
  // Unchecked: OpenSSL's algorithms are immutable and counted atomically.
  let pointer: OpaquePointer

  init() {
    guard let pointer = EVP_MD_fetch(nil, "SHA256", nil) else { fatalError("this OpenSSL has no SHA-256: its configuration leaves it out") }
    self.pointer = pointer
  }
}

private let algorithm = Algorithm()

/// SHA-256 of some bytes: 32 bytes.
package func sha256(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
  let hasher = SHA256Hasher()
  hasher.update(bytes)
  return hasher.finalize()
}

/// SHA-256 of some bytes: 32 bytes.
package func sha256(_ bytes: some Sequence<UInt8>) -> [UInt8] {
  let hasher = SHA256Hasher()
  hasher.update(bytes)
  return hasher.finalize()
}
