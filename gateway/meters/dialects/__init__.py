"""The dialects, one a file: where usage and failure stand in an answer, and how its numbers become `Usage`."""
