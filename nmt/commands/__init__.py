"""One module per command, in the groups of `nmt --help`. Commands never import each other."""
