"""A local model server behind the local DashScope: its dialect and how it is asked."""
