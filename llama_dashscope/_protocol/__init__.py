"""What the service says, as values: requests out, responses, frames and errors in; no I/O."""
