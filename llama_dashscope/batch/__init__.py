"""Batches: many calls at once, with a journal from which an interrupted run resumes."""
