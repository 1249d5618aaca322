"""Commands of the section "Analysis": evaluate, explain and align."""
