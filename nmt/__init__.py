"""Neural machine translation: `nmt.load(folder).translate(lines)`."""
