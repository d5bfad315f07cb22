import Diffusion
import Foundation
import Tensors

/// x_t and the loss of a batch. Every tensor is (N, C, H, W).
struct DiffusionLoss {
  let schedule: Schedule
  let prediction: Prediction
  let variance: Variance

  /// The network's input and what its loss needs later.
  struct Prepared {
    let x0: Tensor
    let noise: Tensor
    let xt: Tensor
    let device: Device
    let coefficients: [LossCoefficients]
  }

  func prepare(_ batch: Batch, device: Device) throws(TorchError) -> Prepared {
    let shape = [batch.count, 3, batch.side, batch.side]
    let x0 = try Tensor(batch.x0, shape: shape, device: device).channelsLast()
    let noise = try Tensor(batch.noise, shape: shape, device: device).channelsLast()
    let coefficients = batch.timesteps.map { LossCoefficients(schedule, timestep: $0, prediction: prediction) }
    let xt = try x0.mul(column(coefficients, device, \.signal)).add(noise.mul(column(coefficients, device, \.noise)))
    return Prepared(x0: x0, noise: noise, xt: xt, device: device, coefficients: coefficients)
  }

  /// The mean squared error of the prediction; with a learned variance, plus the variational term, whose gradient reaches the
  /// variance channels alone (Nichol & Dhariwal 2021, eq. 16; cdm-facts 2.10, RESCALED_MSE).
  func loss(output: Tensor, _ p: Prepared) throws(TorchError) -> Tensor {
    let c = p.coefficients
    let device = p.device
    let target = try p.x0.mul(column(c, device, \.targetX0)).add(p.noise.mul(column(c, device, \.targetNoise)))
    let output = try output.to(.f32)
    guard variance == .learnedRange else { return try output.sub(target).square().mean() }
    let parts = try output.chunk(2, dim: 1)
    let simple = try parts[0].sub(target).square().mean()
    return try simple.add(variational(prediction: parts[0].detach(), logits: parts[1], p))
  }

  /// The batch mean of weight · bits per dimension.
  func variational(prediction: Tensor, logits: Tensor, _ p: Prepared) throws(TorchError) -> Tensor {
    let c = p.coefficients
    let device = p.device
    let estimate = try p.xt.mul(column(c, device, \.x0FromX)).add(prediction.mul(column(c, device, \.x0FromOutput)))
    let mean = try posteriorMean(estimate, p)
    let fraction = try logits.add(1).mul(0.5)
    let logVariance = try fraction.mul(column(c, device) { $0.logVarianceHigh - $0.logVarianceLow }).add(
      column(c, device, \.logVarianceLow))

    // KL(N(m, e^l) ‖ N(mean, e^logVariance)) with l the true posterior's log-variance.
    let trueMean = try posteriorMean(p.x0, p)
    let low = try column(c, device, \.logVarianceLow)
    let gap = try logVariance.sub(low)
    let distance = try trueMean.sub(mean).square().mul(logVariance.mul(-1).exp())
    let divergence = try gap.add(gap.mul(-1).exp()).add(distance).sub(1).mul(0.5).mean(dims: [1, 2, 3])
    let weight = { (isDecoder: Bool) in
      c.map { Float($0.isDecoder == isDecoder ? $0.variationalWeight / (Double(c.count) * M_LN2) : 0) }
    }
    var total = try divergence.mul(Tensor(weight(false), shape: [c.count], device: device)).sum()
    if c.contains(where: \.isDecoder) {
      let surprise = try decoderSurprise(p.x0, mean: mean, logScale: logVariance.mul(0.5)).mean(dims: [1, 2, 3])
      total = try total.add(surprise.mul(Tensor(weight(true), shape: [c.count], device: device)).sum())
    }
    return total
  }

  /// -ln of a Gaussian's mass in the 8-bit bin around x; the outermost bins are open. The normal distribution function is its
  /// tanh approximation.
  private func decoderSurprise(_ x: Tensor, mean: Tensor, logScale: Tensor) throws(TorchError) -> Tensor {
    let centred = try x.sub(mean)
    let inverse = try logScale.mul(-1).exp()
    let upper = try normalCDF(centred.add(1.0 / 255).mul(inverse))
    let lower = try normalCDF(centred.sub(1.0 / 255).mul(inverse))
    let floor = 1e-12
    // Masks as numbers: both ends are rare, and every branch is finite.
    let first = try step(x.mul(-1), above: 0.999)
    let last = try step(x, above: 0.999)
    let logUpper = try upper.clamp(min: floor, max: 1).log()
    let logRest = try lower.mul(-1).add(1).clamp(min: floor, max: 1).log()
    let logBin = try upper.sub(lower).clamp(min: floor, max: 1).log()
    let inner = try first.add(last).mul(-1).add(1)
    return try logUpper.mul(first).add(logRest.mul(last)).add(logBin.mul(inner)).mul(-1)
  }

  private func normalCDF(_ x: Tensor) throws(TorchError) -> Tensor {
    let cubic = try x.square().mul(x).mul(0.044715).add(x)
    return try cubic.mul((2 / Double.pi).squareRoot()).tanh().add(1).mul(0.5)
  }

  /// 1 where x > threshold, else 0.
  private func step(_ x: Tensor, above threshold: Double) throws(TorchError) -> Tensor {
    // The smallest difference of two floats near 1 is 6e-8, so the ramp is either at its foot or at its top.
    try x.sub(threshold).mul(1e9).clamp(min: 0, max: 1)
  }

  private func posteriorMean(_ x0: Tensor, _ p: Prepared) throws(TorchError) -> Tensor {
    let c = p.coefficients
    return try x0.mul(column(c, p.device, \.meanFromX0)).add(p.xt.mul(column(c, p.device, \.meanFromX)))
  }

  private func column(_ c: [LossCoefficients], _ device: Device, _ value: (LossCoefficients) -> Double) throws(TorchError) -> Tensor {
    try Tensor(c.map { Float(value($0)) }, shape: [c.count, 1, 1, 1], device: device)
  }
}
