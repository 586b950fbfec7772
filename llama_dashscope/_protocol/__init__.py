"""The service's protocol, without I/O: writes requests; reads responses, frames and errors."""
