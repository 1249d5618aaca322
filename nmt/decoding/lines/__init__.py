"""Divide lines into parts before the search, join the results, and judge them."""
