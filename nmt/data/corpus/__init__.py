"""From text sets to a tokenized corpus on disk: reading, filtering, tokenizing, splitting."""
