"""How the local DashScope's bytes go out: a small HTTP/1.1 server and its status page."""
