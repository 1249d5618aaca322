"""Mutants: deliberate bugs that the tests of the guarantees must detect."""
