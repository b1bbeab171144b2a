"""What numbers allow to say: paired differences, intervals, rank ranges, spread over seeds, Bjøntegaard deltas."""
