"""The service that the local DashScope imitates: rules, replies, faults and their rendering."""
