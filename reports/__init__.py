"""Run files to tables and pages; the JSON Schemas of every output."""
