"""Parts of the error messages of the config: expected values, and names of other toolkits."""
