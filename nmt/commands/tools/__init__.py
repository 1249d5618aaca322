"""Commands of the section "Tools": export, shortlist, info and config."""
