"""Commands that plan, train, average, plot and compare runs."""
