"""What a translation must or may contain: phrases, terms, placeholders, a vocabulary shortlist."""
