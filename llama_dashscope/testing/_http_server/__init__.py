"""The local DashScope's HTTP/1.1 server and its status page."""
