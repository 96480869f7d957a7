"""What a batch leaves: tables and figures with where they came from, the page, comparison."""
