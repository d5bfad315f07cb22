// swift-tools-version: 6.2
import Foundation
import PackageDescription

/// Where `ops/setup` puts LibTorch; `LIBTORCH` points at another copy, a CUDA build say.
let libtorch =
  Context.environment["LIBTORCH"]
  ?? (Context.environment["XDG_CACHE_HOME"] ?? (Context.environment["HOME"] ?? "") + "/.cache")
  + "/weir/libtorch-2.13.0/torch"

/// A CUDA build registers itself when its library is loaded, though nothing refers to it.
let cudaFlags =
  FileManager.default.fileExists(atPath: libtorch + "/lib/libtorch_cuda.so")
  ? ["--push-state", "--no-as-needed", "-ltorch_cuda", "--pop-state"].flatMap { ["-Xlinker", $0] } : []

let swiftSettings: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

func tool(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .executableTarget(
    name: name, dependencies: dependencies + ["Programs", argumentParser],
    swiftSettings: swiftSettings)
}

func tests(_ module: String, _ dependencies: [Target.Dependency] = [], exclude: [String] = [], resources: [Resource] = []) -> Target {
  .testTarget(
    name: module + "Tests", dependencies: [.target(name: module)] + dependencies, exclude: exclude, resources: resources,
    swiftSettings: swiftSettings)
}

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let signals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let sqlite = Target.Dependency.product(name: "GRDBSQLite", package: "GRDB.swift")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let heap = Target.Dependency.product(name: "HeapModule", package: "swift-collections")
let subprocess = Target.Dependency.product(name: "Subprocess", package: "swift-subprocess")
let histogram = Target.Dependency.product(name: "Histogram", package: "hdrhistogram-swift")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

let targets: [Target] = [
  .systemLibrary(name: "CZeroMQ", providers: [.apt(["libzmq3-dev"])]),
  .systemLibrary(name: "CProtobufC", providers: [.apt(["libprotobuf-c-dev"])]),
  .systemLibrary(name: "CPNG", providers: [.apt(["libpng-dev"])]),
  .systemLibrary(name: "COpenSSL", providers: [.apt(["libssl-dev"])]),
  .systemLibrary(name: "CXXHash", providers: [.apt(["libxxhash-dev"])]),
  .target(name: "CLinuxShims"),
  .target(name: "CClockShim"),
  .target(name: "CWeirProto", dependencies: ["CProtobufC"]),
  .target(
    name: "CTorchBridge",
    cxxSettings: [
      .headerSearchPath("."),
      .unsafeFlags([
        "-O2", "-isystem", "\(libtorch)/include", "-isystem", "\(libtorch)/include/torch/csrc/api/include",
      ]),
    ],
    linkerSettings: [
      .unsafeFlags(["-L\(libtorch)/lib", "-Xlinker", "-rpath", "-Xlinker", "\(libtorch)/lib"] + cudaFlags),
      .linkedLibrary("torch"), .linkedLibrary("torch_cpu"), .linkedLibrary("c10"),
    ]),
  library("Digests", ["COpenSSL", "CXXHash"]),
  library("SeededRandom"),
  library("FreePorts"),
  library("ZeroMQ", ["CZeroMQ", "CLinuxShims"]),
  library("Wire", ["CWeirProto", "CProtobufC", "ZeroMQ", "Digests"]),
  library("Images", ["CPNG"]),
  library("Tensors", ["CTorchBridge"]),
  library("Diffusion"),
  library("UNet", ["Tensors", "SeededRandom"]),
  library("Cascade", ["UNet", "Diffusion", "Tensors", "Digests"]),
  library("Broker", ["Wire", "ZeroMQ", "Digests", "SeededRandom", "CLinuxShims", grdb, sqlite, logging, lifecycle, deque, heap]),
  library("Worker", ["Wire", "ZeroMQ", "Digests", "SeededRandom", "CLinuxShims", logging, lifecycle]),
  library("NetworkEngine", ["Worker", "Wire", "Cascade", "Diffusion", "Tensors"]),
  library("Client", ["Wire", "ZeroMQ", "Digests", logging]),
  library(
    "Load",
    [
      "Broker", "Worker", "Client", "LocalFleet", "Wire", "ZeroMQ", "Digests", "SeededRandom", "FreePorts", "CLinuxShims", "CZeroMQ",
      sqlite, logging, deque, heap, histogram, subprocess, system,
    ]),
  library("Programs", [argumentParser]),
  library("LocalFleet", ["CLinuxShims", subprocess, system]),
  library("Plots"),
  library("Training", ["UNet", "Diffusion", "Tensors", "Cascade", "Images", "Plots", "SeededRandom", "FreePorts"]),
  library("Evaluation", ["Tensors", "Images", "Digests", "SeededRandom"]),
  tool("weir", ["Client", "LocalFleet", "Images", "Wire", "ZeroMQ", "Digests"]),
  tool("weir-broker", ["Broker", logging, lifecycle, signals]),
  // Not a product: it measures the broker, for ops/bench/broker.
  .executableTarget(
    name: "broker-load",
    dependencies: ["Wire", "ZeroMQ", "Digests", argumentParser],
    path: "ops/bench/broker-load", swiftSettings: swiftSettings),
  tool("weir-worker", ["Worker", "NetworkEngine", "Tensors", "ZeroMQ", logging, lifecycle, signals]),
  tool("weir-load", ["Load", "LocalFleet", "Client", "Broker"]),
  tool("weir-lab", ["Training", "Evaluation", "Plots", "Cascade", "UNet", "Diffusion", "Tensors", "Images", "Digests"]),
  tests("ZeroMQ"),
  tests("Wire", ["ZeroMQ", "Digests", "SeededRandom", "CWeirProto", "CProtobufC"]),
  tests("Images"),
  tests("Tensors"),
  tests("Diffusion", ["SeededRandom"]),
  tests("UNet", ["Tensors"], resources: [.copy("Goldens")]),
  tests("Cascade", ["UNet", "Diffusion", "Tensors", "Digests", "SeededRandom"], resources: [.copy("Goldens")]),
  tests("Broker", ["Load", "Client", "Worker", "Wire", "ZeroMQ", "Digests", "SeededRandom", logging, grdb]),
  tests("Worker", ["Wire", "ZeroMQ", "SeededRandom"]),
  tests("Client", ["Wire", "ZeroMQ", "LocalFleet", "weir"]),
  tests("Load", ["Client", "Wire", "Worker", "ZeroMQ", "SeededRandom", "FreePorts", logging], exclude: ["Corpus"]),
  tests("Plots"),
  tests("Evaluation", ["Tensors", "Images"], resources: [.copy("Goldens")]),
  tests("Training", ["Cascade", "UNet", "Diffusion", "Tensors", "Images"]),
  .testTarget(
    name: "FleetTests",
    dependencies: [
      "Load", "Client", "Images", "Wire", "ZeroMQ", "Digests", "SeededRandom", "FreePorts", "Worker", "Cascade", "UNet", "Diffusion",
      "Tensors", "weir", "weir-broker", "weir-worker", "weir-lab", "weir-load", subprocess, system,
    ],
    swiftSettings: swiftSettings),
]

let package = Package(
  name: "weir",
  products: [
    .library(name: "WeirClient", targets: ["Client"]),
    // What `weir-load chaos` preloads into programs to move their wall clock.
    .library(name: "weir-clock", type: .dynamic, targets: ["CClockShim"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
    .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0"),
    .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", exact: "2.13.0"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", exact: "1.0.2"),
    .package(url: "https://github.com/apple/swift-system", exact: "1.8.1"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", exact: "0.2.0"),
  ],
  targets: targets,
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx20
)
