"""The simulated machine: known power, known truth. Public: test your own backend with it."""
