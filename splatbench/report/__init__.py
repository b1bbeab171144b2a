"""Reports: from records to tables, figures, verdicts against the papers, and one HTML page."""
