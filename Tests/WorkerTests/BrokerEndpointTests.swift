import Testing
import Worker

@Suite struct BrokerEndpointTests {
  @Test(arguments: ["tcp://127.0.0.1:7710", "tcp://broker.example:1", "tcp://[::1]:65535"]) func readsEndpoints(_ text: String) {
    let endpoint = BrokerEndpoint(text)
    #expect(endpoint?.description == text)
    #expect(endpoint?.with(port: 9).hasSuffix(":9") == true)
  }

  @Test(arguments: [
    "", "tcp://", "tcp://:7710", "127.0.0.1:7710", "tcp://host", "tcp://host:", "tcp://host:0", "tcp://host:65536", "tcp://host:x",
    "ipc://socket:1", "tcp://a b:1", "tcp://a/b:1", "tcp:",
  ])
  func refusesOthers(_ text: String) {
    #expect(BrokerEndpoint(text) == nil)
  }
}
