import Wire

extension StageOptions {
  /// How often a step calls the network: with classifier-free guidance as the null class, too.
  var passesOfStep: Int { (guidance ?? 1) == 1 ? 1 : 2 }

  /// Of all steps.
  var passes: Int { Int(steps ?? 0) * passesOfStep }
}
