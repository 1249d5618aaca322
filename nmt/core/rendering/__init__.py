"""Results for people: tables as plain text, and pages as HTML."""
