"""The mentor's tools: many repositories read as untrusted data, evidence by rubric, marks left to the
mentor."""
