"""Speed, shown beside references in the same run, never by a timed test."""
