"""What the local DashScope says: rules, replies, faults and how they are rendered."""
